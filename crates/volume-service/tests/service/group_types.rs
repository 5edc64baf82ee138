//! Group types: who sees, makes, changes and removes them, and their specs.

use volume_service::app::group_types::{self, GroupTypeChange, GroupTypeQuery, NewGroupType};
use volume_service::model::group::GroupType;
use volume_service::{ErrorKind, RequestContext};

use crate::support::{Bench, map, on_each, requester};

fn new(name: &str) -> NewGroupType {
    NewGroupType {
        name: name.to_owned(),
        ..NewGroupType::default()
    }
}

async fn make(bench: &Bench, new: NewGroupType) -> GroupType {
    let operator = RequestContext::operator();
    group_types::create(&bench.service, &operator, new)
        .await
        .unwrap()
}

async fn names(bench: &Bench, who: &RequestContext, query: GroupTypeQuery) -> Vec<String> {
    let page = group_types::list(&bench.service, who, query).await.unwrap();
    page.items.into_iter().map(|one| one.name).collect()
}

#[test]
fn administrators_make_them_and_members_see_what_is_public() {
    on_each(|bench| async move {
        let (s, admin) = (&bench.service, RequestContext::operator());
        let member = requester("alice", "member");
        let open = make(&bench, new("open")).await;
        let hidden = make(
            &bench,
            NewGroupType {
                is_private: true,
                ..new("hidden")
            },
        )
        .await;
        for (who, of, seen) in [
            (&member, None, &["open"][..]),
            (&member, Some(false), &["open"]),
            (&admin, None, &["hidden", "open"]),
            (&admin, Some(false), &["hidden"]),
        ] {
            let query = GroupTypeQuery {
                is_public: of,
                ..GroupTypeQuery::default()
            };
            assert_eq!(names(&bench, who, query).await, seen);
        }
        let missing = group_types::get(s, &member, hidden.id).await.unwrap_err();
        assert_eq!(missing.kind, ErrorKind::NotFound);
        assert_eq!(
            group_types::get(s, &admin, hidden.id).await.unwrap(),
            hidden
        );
        let change = GroupTypeChange {
            is_public: Some(false),
            ..GroupTypeChange::default()
        };
        for refused in [
            group_types::create(s, &member, new("mine")).await.map(drop),
            group_types::update(s, &member, open.id, change)
                .await
                .map(drop),
            group_types::delete(s, &member, open.id).await,
            group_types::specs(s, &member, open.id).await.map(drop),
            group_types::set_specs(s, &member, open.id, map(&[("k", "v")])).await,
            group_types::remove_spec(s, &member, open.id, "k").await,
        ] {
            assert_eq!(refused.unwrap_err().kind, ErrorKind::Forbidden);
        }
        for name in ["open", "hidden"] {
            let twice = group_types::create(s, &admin, new(name)).await.unwrap_err();
            assert_eq!(twice.kind, ErrorKind::Conflict);
            assert_eq!(twice.public, format!("Group Type {name} already exists."));
        }
        assert_eq!(group_types::default(s, &member).await.unwrap(), None);
        let default = make(&bench, new("default")).await;
        assert_eq!(
            group_types::default(s, &member).await.unwrap(),
            Some(default)
        );
    });
}

#[test]
fn they_are_changed_and_removed() {
    on_each(|bench| async move {
        let (s, admin) = (&bench.service, RequestContext::operator());
        let one = make(&bench, new("one")).await;
        let two = make(
            &bench,
            NewGroupType {
                specs: map(&[("a", "1")]),
                ..new("two")
            },
        )
        .await;
        let renamed = |name: &str| GroupTypeChange {
            name: Some(name.to_owned()),
            description: Some("changed".to_owned()),
            is_public: None,
        };
        let taken = group_types::update(s, &admin, two.id, renamed("one")).await;
        assert_eq!(taken.unwrap_err().kind, ErrorKind::Conflict);
        let changed = group_types::update(s, &admin, two.id, renamed("three"))
            .await
            .unwrap();
        assert_eq!((changed.name.as_str(), changed.is_public), ("three", true));
        assert_eq!(changed.specs, map(&[("a", "1")]));
        let more = map(&[("a", "2"), ("b", "3")]);
        group_types::set_specs(s, &admin, two.id, more.clone())
            .await
            .unwrap();
        assert_eq!(group_types::specs(s, &admin, two.id).await.unwrap(), more);
        let listed = group_types::list(s, &admin, GroupTypeQuery::default())
            .await
            .unwrap();
        assert_eq!(listed.items[0].specs, more);
        group_types::remove_spec(s, &admin, two.id, "a")
            .await
            .unwrap();
        let gone = group_types::remove_spec(s, &admin, two.id, "a")
            .await
            .unwrap_err();
        assert_eq!(gone.kind, ErrorKind::NotFound);
        group_types::delete(s, &admin, one.id).await.unwrap();
        for gone in [
            group_types::delete(s, &admin, one.id).await,
            group_types::update(s, &admin, one.id, renamed("x"))
                .await
                .map(drop),
            group_types::set_specs(s, &admin, one.id, more).await,
            group_types::specs(s, &admin, one.id).await.map(drop),
        ] {
            let gone = gone.unwrap_err();
            assert_eq!(gone.kind, ErrorKind::NotFound);
            assert_eq!(
                gone.public,
                format!("Group type {} could not be found.", one.id)
            );
        }
    });
}

#[test]
fn lists_have_pages() {
    on_each(|bench| async move {
        let admin = RequestContext::operator();
        for name in ["c", "a", "b"] {
            make(&bench, new(name)).await;
        }
        let mut query = GroupTypeQuery {
            sort: vec![(
                volume_service::app::groups::GroupSortKey::Name,
                volume_service::app::volumes::SortDirection::Ascending,
            )],
            limit: Some(2),
            ..GroupTypeQuery::default()
        };
        let page = group_types::list(&bench.service, &admin, query.clone())
            .await
            .unwrap();
        assert!(page.has_more);
        assert_eq!(names(&bench, &admin, query.clone()).await, ["a", "b"]);
        query.marker = page.items.last().map(|last| last.id);
        assert_eq!(names(&bench, &admin, query).await, ["c"]);
    });
}
