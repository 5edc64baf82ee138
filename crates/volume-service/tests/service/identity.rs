//! Users, tokens and keys of the built-in identity.

use std::sync::atomic::Ordering;

use volume_service::app::identity::{
    Credentials, FirstCredentials, NewApplicationCredential, Scope, Token, authenticate, bootstrap,
    create_application_credential, create_ec2_key, create_project, create_user, delete_ec2_key,
    ec2_key, projects_of, revoke, validate, validate_expired,
};
use volume_service::config::Secret;
use volume_service::{ErrorKind, RequestContext};

use crate::support::{Bench, on_each};

fn first() -> FirstCredentials {
    FirstCredentials {
        user_name: "admin".to_owned(),
        password: Secret::new("0123456789abcdefghijklmn"),
        project_name: "demo".to_owned(),
        ec2_access_key: "AKIDFIRST".to_owned(),
        ec2_secret_key: Secret::new("first-secret"),
    }
}

fn password(user: &str, password: &str) -> Credentials {
    Credentials::Password {
        user: user.to_owned(),
        password: Secret::new(password),
    }
}

async fn started(bench: &Bench) -> RequestContext {
    assert!(bootstrap(&bench.service, &first()).await.unwrap());
    context(log_in(bench, "admin", first().password.expose()).await)
}

async fn log_in(bench: &Bench, user: &str, secret: &str) -> Token {
    authenticate(&bench.service, password(user, secret), Scope::Default)
        .await
        .unwrap()
}

fn context(token: Token) -> RequestContext {
    let project = token.project.unwrap();
    RequestContext::new("req-1", token.user.id, project.id, token.roles)
}

#[test]
fn a_first_start_makes_one_administrator() {
    on_each(|bench| async move {
        let mut starts = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let service = bench.service.clone();
            starts.spawn(async move { bootstrap(&service, &first()).await.unwrap() });
        }
        let outcomes = starts.join_all().await;
        assert_eq!(outcomes.iter().filter(|made| **made).count(), 1);
        let token = authenticate(
            &bench.service,
            password("admin", first().password.expose()),
            Scope::Default,
        )
        .await
        .unwrap();
        assert_eq!(token.roles, ["admin", "member", "reader"]);
        assert_eq!(token.methods, ["password"]);
        assert_eq!(token.project.as_ref().unwrap().name, "demo");
        assert!(token.text.as_ref().unwrap().expose().len() <= 255);
        let (secret, acting) = ec2_key(&bench.service, "AKIDFIRST").await.unwrap();
        assert_eq!(secret.expose(), "first-secret");
        assert_eq!((acting.user_id, acting.roles), (token.user.id, token.roles));
        let error = ec2_key(&bench.service, "AKIDOTHER").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
    });
}

#[test]
fn wrong_credentials_are_all_refused_in_the_same_words() {
    on_each(|bench| async move {
        started(&bench).await;
        let right = first().password;
        let wrong = [
            (password("admin", "wrong"), Scope::Default),
            (password("admin", ""), Scope::Default),
            (
                password("admin", right.expose()),
                Scope::Project("elsewhere".to_owned()),
            ),
            (Credentials::Token(Secret::new("garbage")), Scope::Default),
            (
                Credentials::ApplicationCredential {
                    id_or_name: "x".into(),
                    user: Some("admin".into()),
                    secret: Secret::new("x"),
                },
                Scope::Default,
            ),
        ];
        let mut words = std::collections::BTreeSet::new();
        for (credentials, scope) in wrong {
            let error = authenticate(&bench.service, credentials, scope)
                .await
                .unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unauthenticated);
            words.insert(error.public);
        }
        assert_eq!(words.len(), 1);
        let error = authenticate(&bench.service, password("nobody", "x"), Scope::Default)
            .await
            .unwrap_err();
        assert!(words.contains(&error.public));
    });
}

#[test]
fn a_token_is_good_until_it_expires_or_is_revoked() {
    on_each(|bench| async move {
        let admin = started(&bench).await;
        let issue = async || {
            let credentials = password("admin", first().password.expose());
            authenticate(&bench.service, credentials, Scope::Default)
                .await
                .unwrap()
        };
        let token = issue().await;
        let text = token.text.clone().unwrap();
        let seen = validate(&bench.service, &text).await.unwrap();
        assert_eq!(
            (&seen.audit_id, &seen.user, &seen.roles),
            (&token.audit_id, &token.user, &token.roles)
        );
        assert!(seen.text.is_none());

        let rescoped = authenticate(
            &bench.service,
            Credentials::Token(text.clone()),
            Scope::Unscoped,
        )
        .await
        .unwrap();
        assert_eq!(
            (rescoped.methods.join(","), rescoped.project),
            ("password,token".to_owned(), None)
        );
        assert_eq!(
            rescoped.expires_at_us, token.expires_at_us,
            "an exchange does not prolong"
        );
        assert!(
            validate(&bench.service, &rescoped.text.unwrap())
                .await
                .unwrap()
                .roles
                .is_empty()
        );

        revoke(&bench.service, &admin, &text).await.unwrap();
        let error = validate(&bench.service, &text).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthenticated);

        let other = issue().await.text.unwrap();
        validate(&bench.service, &other).await.unwrap();
        bench
            .world
            .now_us
            .fetch_add(3600 * 1_000_000, Ordering::Relaxed);
        let error = validate(&bench.service, &other).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthenticated);

        // Beside a service's token the expired one is still good, and the revoked one never again.
        let third = issue().await.text.unwrap();
        revoke(&bench.service, &admin, &third).await.unwrap();
        validate_expired(&bench.service, &other).await.unwrap();
        let error = validate_expired(&bench.service, &text).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
    });
}

#[test]
fn a_user_that_loses_its_role_loses_its_tokens() {
    on_each(|bench| async move {
        let admin = started(&bench).await;
        let project = create_project(&bench.service, &admin, "lab", "")
            .await
            .unwrap();
        let error = create_project(&bench.service, &admin, "lab", "")
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        let error = create_user(
            &bench.service,
            &admin,
            "eve",
            Secret::new("p"),
            &project.id,
            "king",
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        let eve = create_user(
            &bench.service,
            &admin,
            "eve",
            Secret::new("people choose"),
            "lab",
            "member",
        )
        .await
        .unwrap();
        assert_eq!(
            projects_of(&bench.service, &eve.id).await.unwrap(),
            std::slice::from_ref(&project)
        );
        let token = authenticate(
            &bench.service,
            password("eve", "people choose"),
            Scope::Project("lab".into()),
        )
        .await
        .unwrap();
        assert_eq!(token.roles, ["member", "reader"]);
        let text = token.text.unwrap();
        validate(&bench.service, &text).await.unwrap();
        let theirs = RequestContext {
            user_id: eve.id.clone(),
            project_id: project.id.clone(),
            roles: token.roles,
            ..admin.clone()
        };
        let (access_key, secret) = create_ec2_key(&bench.service, &theirs, &eve.id, &project.id)
            .await
            .unwrap();
        assert_eq!(
            ec2_key(&bench.service, &access_key)
                .await
                .unwrap()
                .0
                .expose(),
            secret.expose()
        );
        let error = create_ec2_key(&bench.service, &theirs, &eve.id, &admin.project_id)
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Forbidden, "no role there");
        let error = revoke(
            &bench.service,
            &theirs,
            &authenticate(
                &bench.service,
                password("admin", first().password.expose()),
                Scope::Default,
            )
            .await
            .unwrap()
            .text
            .unwrap(),
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Forbidden, "somebody else's token");

        let user_id = eve.id.clone();
        bench
            .service
            .database
            .write(move |tx| {
                tx.execute(
                    "DELETE FROM role_assignments WHERE user_id = ?1",
                    &[user_id.as_str().into()],
                )
            })
            .await
            .unwrap();
        bench.world.now_us.fetch_add(6_000_000, Ordering::Relaxed);
        assert_eq!(
            validate(&bench.service, &text).await.unwrap_err().kind,
            ErrorKind::Unauthenticated
        );
        assert_eq!(
            ec2_key(&bench.service, &access_key).await.unwrap_err().kind,
            ErrorKind::Unauthenticated
        );
    });
}

#[test]
fn a_key_that_is_taken_away_is_not_remembered() {
    on_each(|bench| async move {
        started(&bench).await;
        let (service, operator) = (&bench.service, RequestContext::operator());
        let admin = context(log_in(&bench, "admin", first().password.expose()).await);
        let (user, project) = (admin.user_id.as_str(), admin.project_id.as_str());
        let (key, _) = create_ec2_key(service, &operator, user, project)
            .await
            .unwrap();
        for _ in 0..2 {
            let (_, acting) = ec2_key(service, &key).await.unwrap();
            assert_eq!(acting.user_id, user);
        }
        delete_ec2_key(service, &operator, user, &key)
            .await
            .unwrap();
        let error = ec2_key(service, &key).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
    });
}

#[test]
fn an_application_credential_acts_for_its_user_in_its_project() {
    on_each(|bench| async move {
        started(&bench).await;
        let limited = Token {
            roles: vec!["reader".to_owned()],
            ..log_in(&bench, "admin", first().password.expose()).await
        };
        let expires = bench.service.context.now_us() + 60_000_000;
        let wanted = |name: &str, roles: Option<&str>, expires_at_us| NewApplicationCredential {
            name: name.to_owned(),
            roles: roles.map(|role| vec![role.to_owned()]),
            expires_at_us,
            ..NewApplicationCredential::default()
        };
        let (made, secret) = create_application_credential(
            &bench.service,
            &limited,
            wanted("ci", None, Some(expires)),
        )
        .await
        .unwrap();
        let id = made.id;
        let error =
            create_application_credential(&bench.service, &limited, wanted("ci", None, None))
                .await
                .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        let more = wanted("more", Some("admin"), None);
        let error = create_application_credential(&bench.service, &limited, more)
            .await
            .unwrap_err();
        assert_eq!(
            error.kind,
            ErrorKind::Forbidden,
            "a role that the token has not"
        );
        let by_id = Credentials::ApplicationCredential {
            id_or_name: id,
            user: None,
            secret: secret.clone(),
        };
        let by_name = Credentials::ApplicationCredential {
            id_or_name: "ci".into(),
            user: Some("admin".into()),
            secret,
        };
        for credentials in [by_id.clone(), by_name] {
            let token = authenticate(&bench.service, credentials, Scope::Default)
                .await
                .unwrap();
            assert_eq!(token.roles, ["reader"], "never more than it was made with");
            assert_eq!(token.methods, ["application_credential"]);
            assert_eq!(token.expires_at_us, expires);
            let text = token.text.unwrap();
            assert_eq!(
                validate(&bench.service, &text).await.unwrap().roles,
                ["reader"]
            );
            let error = authenticate(&bench.service, Credentials::Token(text), Scope::Default)
                .await
                .unwrap_err();
            assert_eq!(error.kind, ErrorKind::Forbidden);
        }
        let error = authenticate(
            &bench.service,
            by_id.clone(),
            Scope::Project("elsewhere".into()),
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
        bench.world.now_us.fetch_add(61_000_000, Ordering::Relaxed);
        let error = authenticate(&bench.service, by_id, Scope::Default)
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
    });
}
