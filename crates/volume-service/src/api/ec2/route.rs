//! The table of actions: it is the dispatcher, the schema of parameters, the list of filters, the policy, the order of dry runs,
//! the bad-input test and the support matrix.
//!
//! Each resource file owns a slice `ACTIONS` of it, and this file names the slices. A request has the form of its action's schema
//! when the action's function sees it, so that reading parameters does not fail.
//!
//! ```ignore
//! pub(super) const ACTIONS: &[Action] = &[
//!     Action::new("PolishVolume", |call, xml| Box::pin(polish(call, xml)))
//!         .rules(&[Rule::VolumeUpdate])                    // the first one goes with the request into the use cases
//!         .dry_run(DryRun::First)                          // AfterParameters without
//!         .parameters(&[
//!             Parameter::new("VolumeId", Kind::Id(Noun::Volume, Dialect::Addressed)).required(NULL_ID),
//!             Parameter::new("Cloth", Kind::Words(&["soft", "rough"])),
//!         ])
//!         .answers(&[Element::text("return")]),            // every element that an answer may have
//! ];
//! ```

use std::pin::Pin;

use super::fault::Result;
use super::page::Paging;
use super::parameters::{Arguments, Parameters};
use super::schema::{self, Parameter};
use super::words;
use super::xml::Xml;
use super::{
    accounts, attachments, copy_snapshot, copy_volumes, create_snapshots, instance_status,
    instance_types, instances, locks, modifications, public_access, recycle_bin, regions, settings,
    sharing, snapshot_list, snapshots, storage_tiers, tag_actions, tag_list, volume_attributes,
    volume_list, volume_status, volumes, zones,
};
use crate::app::{self, Service};
use crate::auth::rule::Rule;
use crate::context::RequestContext;

/// Every action, by the file that it is in.
pub(super) const ACTIONS: &[&[Action]] = &[
    volumes::ACTIONS,
    volume_list::ACTIONS,
    volume_status::ACTIONS,
    volume_attributes::ACTIONS,
    copy_volumes::ACTIONS,
    settings::ACTIONS,
    modifications::ACTIONS,
    snapshots::ACTIONS,
    snapshot_list::ACTIONS,
    tag_actions::ACTIONS,
    tag_list::ACTIONS,
    sharing::ACTIONS,
    copy_snapshot::ACTIONS,
    create_snapshots::ACTIONS,
    locks::ACTIONS,
    public_access::ACTIONS,
    recycle_bin::ACTIONS,
    storage_tiers::ACTIONS,
    zones::ACTIONS,
    regions::ACTIONS,
    accounts::ACTIONS,
    attachments::ACTIONS,
    instances::ACTIONS,
    instance_status::ACTIONS,
    instance_types::ACTIONS,
];

/// Actions about volumes and snapshots that EC2 has and this service will not have soon: they are refused as such, and not as names
/// that nobody knows.
pub(super) const UNBUILT: &[&str] = &[
    "CancelConversionTask",
    "CancelImportTask",
    "DescribeConversionTasks",
    "DescribeImportSnapshotTasks",
    "DisableEbsEncryptionByDefault",
    "DisableFastSnapshotRestores",
    "EnableEbsEncryptionByDefault",
    "EnableFastSnapshotRestores",
    "ImportSnapshot",
    "ImportVolume",
    "ModifyEbsDefaultKmsKeyId",
    "ModifySnapshotTier",
    "ResetEbsDefaultKmsKeyId",
    "RestoreSnapshotTier",
];

/// The action of this name.
pub(super) fn find(name: &str) -> Option<&'static Action> {
    ACTIONS
        .iter()
        .copied()
        .flatten()
        .find(|action| action.name == name)
}

/// One action of the API.
#[derive(Clone, Copy, Debug)]
pub(super) struct Action {
    pub(super) name: &'static str,
    /// What the requester must pass, whatever the action is about; none for everybody with a key.
    pub(super) rules: &'static [Rule],
    pub(super) parameters: &'static [Parameter],
    /// The names that `Filter.N.Name` may have; `tag:<key>` stands for every tag.
    pub(super) filters: &'static [&'static str],
    /// How its list is cut into pages; none where it is not.
    pub(super) paging: Option<&'static Paging>,
    pub(super) dry_run: DryRun,
    /// Every element that the answer may have, `requestId` aside.
    pub(super) answer: &'static [Element],
    /// What the support matrix says beside the parameters.
    pub(super) remark: &'static str,
    run: Run,
}

type Run = for<'a> fn(&'a Call, &'a mut Xml) -> Running<'a>;

/// An action at work.
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// When a dry run ends; AWS has no one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DryRun {
    /// Once the requester is known to be allowed it, whatever the values are.
    First,
    /// Once the parameters are known to be well formed.
    AfterParameters,
    /// Once what they name is known to be there: the action's function asks [`Call::stop_if_dry`].
    AfterLookup,
}

/// An element of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    pub(super) name: &'static str,
    /// What is in it (in each `item` of it, for a list); none for a text.
    pub(super) inner: &'static [Element],
}

impl Element {
    pub(super) const fn text(name: &'static str) -> Self {
        Element { name, inner: &[] }
    }

    /// A list, of which these are the parts of an item, or a group of elements.
    pub(super) const fn of(name: &'static str, inner: &'static [Element]) -> Self {
        Element { name, inner }
    }
}

impl Action {
    pub(super) const fn new(name: &'static str, run: Run) -> Self {
        Action {
            name,
            rules: &[],
            parameters: &[],
            filters: &[],
            paging: None,
            dry_run: DryRun::AfterParameters,
            answer: &[],
            remark: "",
            run,
        }
    }

    pub(super) const fn rules(mut self, rules: &'static [Rule]) -> Self {
        self.rules = rules;
        self
    }

    pub(super) const fn parameters(mut self, parameters: &'static [Parameter]) -> Self {
        self.parameters = parameters;
        self
    }

    pub(super) const fn filters(mut self, filters: &'static [&'static str]) -> Self {
        self.filters = filters;
        self
    }

    pub(super) const fn paging(mut self, paging: &'static Paging) -> Self {
        self.paging = Some(paging);
        self
    }

    pub(super) const fn dry_run(mut self, dry_run: DryRun) -> Self {
        self.dry_run = dry_run;
        self
    }

    pub(super) const fn answers(mut self, answer: &'static [Element]) -> Self {
        self.answer = answer;
        self
    }

    pub(super) const fn remark(mut self, remark: &'static str) -> Self {
        self.remark = remark;
        self
    }
}

/// An authenticated request for an action.
pub(super) struct Call {
    pub(super) service: Service,
    pub(super) context: RequestContext,
    pub(super) action: &'static Action,
    pub(super) parameters: Parameters,
    is_dry_run: bool,
}

impl Call {
    /// Checks a request for an action: its names, its values, and who asks.
    pub(super) fn check(
        service: Service,
        context: RequestContext,
        action: &'static Action,
        parameters: Parameters,
    ) -> Result<Self> {
        schema::check_names(action.parameters, &parameters)?;
        let is_dry_run = schema::is_dry_run(&parameters)?;
        let context = context.ruled(action.rules.first().copied());
        let call = Call {
            service,
            context,
            action,
            parameters,
            is_dry_run,
        };
        if action.dry_run == DryRun::First {
            call.check_rules()?;
            call.stop_if_dry()?;
        }
        schema::check_values(action.parameters, &call.parameters)?;
        call.check_rules()?;
        if action.dry_run == DryRun::AfterParameters {
            call.stop_if_dry()?;
        }
        Ok(call)
    }

    /// The parameters.
    pub(super) fn arguments(&self) -> Arguments<'_> {
        self.parameters.arguments()
    }

    /// True for a request that only asks whether it would be let through.
    pub(super) fn is_dry_run(&self) -> bool {
        self.is_dry_run
    }

    /// Ends a request that only asks whether it would have been let through.
    pub(super) fn stop_if_dry(&self) -> Result<()> {
        if self.is_dry_run {
            return Err(words::dry_run());
        }
        Ok(())
    }

    /// Does it, and writes the answer.
    pub(super) async fn run(&self, xml: &mut Xml) -> Result<()> {
        (self.action.run)(self, xml).await
    }

    fn check_rules(&self) -> Result<()> {
        Ok(app::check_rules(&self.context, self.action.rules)?)
    }
}
