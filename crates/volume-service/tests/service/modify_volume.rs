//! Modifications of volumes, on both databases.

use volume_service::RequestContext;
use volume_service::app::flavor_specs;
use volume_service::app::modifications::{self, ModificationState};
use volume_service::app::modify_volume::{Modified, ModifyVolume, modify};
use volume_service::app::volume_performance::{self, Performance};
use volume_service::app::volumes::{self, CreateVolume, create};
use volume_service::error::ErrorKind;
use volume_service::model::performance::Ebs;

use crate::support::{Bench, flavor, map, on_each, requester, wanted, work_on_volumes};

async fn gp3(bench: &Bench) {
    let made = flavor(bench, "gp3").await;
    let specs = map(&[
        ("ec2:iops", "3000..80000"),
        ("ec2:iops_default", "3000"),
        ("ec2:throughput", "125..2000"),
        ("ec2:throughput_default", "125"),
    ]);
    let operator = RequestContext::operator();
    flavor_specs::set(&bench.service, &operator, made.id, specs)
        .await
        .unwrap();
}

fn asking(iops: u64) -> ModifyVolume {
    ModifyVolume {
        asked: Performance {
            iops: Some(iops),
            throughput: None,
        },
        ..ModifyVolume::default()
    }
}

#[test]
fn figures_are_kept_with_their_volume_and_sizes_take_an_operation() {
    on_each(|bench| async move {
        gp3(&bench).await;
        let (service, alice) = (&bench.service, requester("alice", "member"));
        let asked = CreateVolume {
            ebs: Ebs {
                iops: Some(3500),
                initialization_rate: Some(200),
                ..Ebs::default()
            },
            ..wanted("gp3", 1)
        };
        let one = create(service, &alice, asked).await.unwrap();
        let other = create(service, &alice, wanted("gp3", 1)).await.unwrap();
        work_on_volumes(&bench).await;
        let figures = async || {
            let mut found = Vec::new();
            for id in [one.id, other.id] {
                let volume = volumes::get(service, &alice, id).await.unwrap();
                let shown =
                    volume_performance::of_volumes(service, &alice, [&volume].into_iter()).await;
                let shown = shown.unwrap().remove(&id).unwrap();
                found.push((
                    volume.size_gib,
                    shown.performance.iops,
                    shown.performance.throughput,
                ));
            }
            found
        };
        let as_made = [(1, Some(3500), Some(125)), (1, Some(3000), Some(125))];
        assert_eq!(figures().await, as_made);

        let bob = requester("bob", "member");
        let refused = modify(service, &bob, one.id, asking(4000)).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::NotFound);
        let reader = requester("alice", "reader");
        let refused = modify(service, &reader, one.id, asking(4000)).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Forbidden);
        let refused = modify(service, &alice, one.id, asking(90_000))
            .await
            .unwrap();
        assert!(matches!(refused, Modified::Unfit(_)), "{refused:?}");
        assert_eq!(figures().await, as_made);
        let none = modifications::list(service, &alice, None, None)
            .await
            .unwrap();
        assert!(none.items.is_empty());

        let done = modify(service, &alice, one.id, asking(4000)).await.unwrap();
        let Modified::Begun(done) = done else {
            panic!("{done:?}")
        };
        assert_eq!(done.state, ModificationState::Completed);
        assert_eq!(
            (done.original.iops, done.target.iops),
            (Some(3500), Some(4000))
        );
        let larger = ModifyVolume {
            size_gib: Some(2),
            ..asking(5000)
        };
        let begun = modify(service, &alice, one.id, larger.clone())
            .await
            .unwrap();
        assert!(
            matches!(&begun, Modified::Begun(one) if one.state == ModificationState::Modifying),
            "{begun:?}"
        );
        let again = modify(service, &alice, one.id, larger).await.unwrap();
        assert!(matches!(again, Modified::UnderWay), "{again:?}");
        work_on_volumes(&bench).await;
        assert_eq!(figures().await[0], (2, Some(5000), Some(125)));
        // Repeated figures of another volume, which was asked for none.
        modify(service, &alice, other.id, asking(3000))
            .await
            .unwrap();
        let first = modifications::list(service, &alice, None, Some(1))
            .await
            .unwrap();
        assert!(first.has_more);
        let (made_at_us, last) = &first.items[0];
        assert_eq!(last.volume_id, one.id);
        let after = Some((*made_at_us, last.volume_id));
        let rest = modifications::list(service, &alice, after, None)
            .await
            .unwrap();
        assert_eq!(rest.items.len(), 1);
        assert_eq!(rest.items[0].1.volume_id, other.id);
        let foreign = modifications::list(service, &bob, None, None)
            .await
            .unwrap();
        assert!(foreign.items.is_empty());
    });
}
