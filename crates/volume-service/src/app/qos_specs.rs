//! QoS specs and the flavors that refer to them; administrators only.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::flavors::existing;
use super::volumes::SortDirection;
use super::{Page, Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, flavors, qos_specs};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::FlavorId;
use crate::model::qos_specs::{Consumer, QosSpecs};

/// What a list of QoS specs shows.
#[derive(Clone, Debug, Default)]
pub struct QosQuery {
    /// This one only.
    pub id: Option<Uuid>,
    /// This name only.
    pub name: Option<String>,
    /// This consumer only.
    pub consumer: Option<Consumer>,
    /// The order; newest first when empty.
    pub sort: Vec<(QosSortKey, SortDirection)>,
    /// Only what is behind this one.
    pub marker: Option<Uuid>,
    /// How many are passed over.
    pub offset: usize,
    /// How many at most.
    pub limit: Option<usize>,
}

/// What QoS specs may be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosSortKey {
    /// When they were made.
    CreatedAt,
    /// Their names.
    Name,
    /// Who is to obey.
    Consumer,
    /// Their ids.
    Id,
}

/// What becomes of flavors that refer to QoS specs that are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhileInUse {
    /// The removal is refused.
    Refuse,
    /// They refer to none any more.
    LeaveFlavors,
}

/// A page of QoS specs.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    query: QosQuery,
) -> Result<Page<QosSpecs>> {
    policy::check(request, Rule::QosSpecsManageGetAll)?;
    limits::check_list(0, 0, query.offset)?;
    let limit = service.page_size(query.limit);
    service
        .database
        .read(move |tx| Ok(Page::cut(qos_specs::page(tx, &query, limit)?, limit)))
        .await
}

/// QoS specs by id.
pub async fn get(service: &Service, request: &RequestContext, id: Uuid) -> Result<QosSpecs> {
    policy::check_routed(request, Rule::QosSpecsManageGet)?;
    service
        .database
        .read(move |tx| qos_specs::find(tx, id)?.ok_or_else(|| qos_specs::missing(id)))
        .await
}

/// Makes QoS specs; a name that exists is a conflict.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    name: &str,
    consumer: Consumer,
    specs: BTreeMap<String, String>,
) -> Result<QosSpecs> {
    policy::check(request, Rule::QosSpecsManageCreate)?;
    limits::check_name("name", name)?;
    limits::check_specs(&specs)?;
    let qos = QosSpecs {
        id: service.context.new_uuid(),
        name: name.to_owned(),
        consumer,
        specs,
        created_at_us: service.context.now_us(),
    };
    service
        .database
        .write(move |tx| {
            if qos_specs::insert(tx, &qos)? {
                return Ok(qos.clone());
            }
            let text = format!("QoS Specs {} already exists.", qos.name);
            Err(Error::new(ErrorKind::Conflict, Subject::Request, text).on(qos.name.clone()))
        })
        .await
}

/// Adds figures or gives them other values, and changes who is to obey. Volumes that are attached keep what they have.
pub async fn update(
    service: &Service,
    request: &RequestContext,
    id: Uuid,
    consumer: Option<Consumer>,
    specs: BTreeMap<String, String>,
) -> Result<()> {
    policy::check(request, Rule::QosSpecsManageUpdate)?;
    limits::check_specs(&specs)?;
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            let known = locked(tx, id)?;
            qos_specs::merge(tx, id, &specs)?;
            let mut all = known.specs;
            all.extend(specs.clone());
            limits::check_specs(&all)?;
            qos_specs::set_consumer(tx, id, consumer.unwrap_or(known.consumer), now_us)
        })
        .await
}

/// Removes figures, all of them or none.
///
/// # Errors
/// `NotFound` when one of them is not there.
pub async fn remove_keys(
    service: &Service,
    request: &RequestContext,
    id: Uuid,
    names: Vec<String>,
) -> Result<()> {
    policy::check(request, Rule::QosSpecsManageDelete)?;
    service
        .database
        .write(move |tx| {
            locked(tx, id)?;
            for name in &names {
                if !qos_specs::remove_key(tx, id, name)? {
                    let text = format!("QoS spec {id} has no spec with key {name}.");
                    return Err(Error::new(ErrorKind::NotFound, Subject::Request, text));
                }
            }
            Ok(())
        })
        .await
}

/// Removes QoS specs.
///
/// # Errors
/// `Invalid` while flavors refer to them, if that matters.
pub async fn remove(
    service: &Service,
    request: &RequestContext,
    id: Uuid,
    in_use: WhileInUse,
) -> Result<()> {
    policy::check(request, Rule::QosSpecsManageDelete)?;
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            locked(tx, id)?;
            match in_use {
                WhileInUse::LeaveFlavors => qos_specs::leave_flavors(tx, id, now_us)?,
                WhileInUse::Refuse if qos_specs::flavors(tx, id)?.is_empty() => {}
                WhileInUse::Refuse => return Err(Error::invalid("Qos specs still in use.")),
            }
            qos_specs::remove(tx, id)
        })
        .await
}

/// The flavors that refer to QoS specs: id and label.
pub async fn flavors_of(
    service: &Service,
    request: &RequestContext,
    id: Uuid,
) -> Result<Vec<(FlavorId, String)>> {
    policy::check(request, Rule::QosSpecsManageGetAll)?;
    service
        .database
        .read(move |tx| {
            qos_specs::find(tx, id)?.ok_or_else(|| qos_specs::missing(id))?;
            qos_specs::flavors(tx, id)
        })
        .await
}

/// Lets a flavor refer to QoS specs.
///
/// # Errors
/// `Invalid` when it refers to others.
pub async fn associate(
    service: &Service,
    request: &RequestContext,
    id: Uuid,
    flavor_id: FlavorId,
) -> Result<()> {
    policy::check(request, Rule::QosSpecsManageUpdate)?;
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            locked(tx, id)?;
            flavors::lock(tx, flavor_id)?;
            match existing(tx, flavor_id)?.qos_id {
                Some(known) if known != id => Err(Error::invalid(format!(
                    "Invalid volume type: Type {flavor_id} is already associated with another qos specs: {known}"
                ))),
                Some(_) => Ok(()),
                None => qos_specs::set_of_flavor(tx, flavor_id, Some(id), now_us),
            }
        })
        .await
}

/// Lets a flavor refer to QoS specs no more, if it does.
pub async fn disassociate(
    service: &Service,
    request: &RequestContext,
    id: Uuid,
    flavor_id: FlavorId,
) -> Result<()> {
    policy::check(request, Rule::QosSpecsManageUpdate)?;
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            locked(tx, id)?;
            flavors::lock(tx, flavor_id)?;
            if existing(tx, flavor_id)?.qos_id == Some(id) {
                qos_specs::set_of_flavor(tx, flavor_id, None, now_us)?;
            }
            Ok(())
        })
        .await
}

/// Lets no flavor refer to QoS specs any more.
pub async fn disassociate_all(service: &Service, request: &RequestContext, id: Uuid) -> Result<()> {
    policy::check(request, Rule::QosSpecsManageUpdate)?;
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            locked(tx, id)?;
            qos_specs::leave_flavors(tx, id, now_us)
        })
        .await
}

fn locked(tx: &mut Transaction<'_>, id: Uuid) -> Result<QosSpecs> {
    qos_specs::lock(tx, id)?;
    qos_specs::find(tx, id)?.ok_or_else(|| qos_specs::missing(id))
}
