use super::*;

fn sqlite_schema(connection: &rusqlite::Connection) -> Vec<String> {
    let mut statement = connection
        .prepare("SELECT name || COALESCE(sql, '') FROM sqlite_master ORDER BY name")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

fn newest(dialect: Dialect) -> String {
    text_for(dialect, MIGRATIONS.last().unwrap())
}

#[test]
fn the_newest_migration_applied_twice_changes_nothing_on_sqlite() {
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    sqlite(&mut connection).unwrap();
    let once = sqlite_schema(&connection);
    connection.execute_batch(&newest(Dialect::Sqlite)).unwrap();
    assert_eq!(sqlite_schema(&connection), once);
    sqlite(&mut connection).unwrap();
    assert_eq!(sqlite_schema(&connection), once);
}

#[test]
fn a_newer_sqlite_database_is_refused() {
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    sqlite(&mut connection).unwrap();
    connection
        .execute("INSERT INTO xensm_schema (version) VALUES (9999)", [])
        .unwrap();
    let error = sqlite(&mut connection).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotSupported);
    assert!(error.public.contains("9999"), "{error}");
}

#[test]
fn the_same_holds_on_postgresql() {
    let Some(cluster) = testkit::postgres::cluster() else {
        return;
    };
    let url = cluster.create_database().unwrap();
    let mut session = Session::connect(&url.parse().unwrap()).unwrap();
    postgresql(&mut session).unwrap();
    let schema = |session: &Session| -> Vec<String> {
        session.batch(&newest(Dialect::Postgresql)).unwrap();
        let rows = session
            .query_once(
                "SELECT relname || relkind::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
            )
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(schema(&session), schema(&session));
    session
        .batch("INSERT INTO xensm_schema (version) VALUES (9999)")
        .unwrap();
    let error = postgresql(&mut session).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotSupported);
}

#[test]
fn each_database_gets_its_own_words() {
    for migration in MIGRATIONS {
        let (sqlite, postgresql) = (
            text_for(Dialect::Sqlite, migration),
            text_for(Dialect::Postgresql, migration),
        );
        // Braces of JSON are followed by a quotation mark.
        let has_word = |text: &str| {
            let mut behind = text.split('{').skip(1);
            behind.any(|rest| rest.starts_with(|first: char| first.is_ascii_alphabetic()))
        };
        assert!(!has_word(&sqlite) && !has_word(&postgresql));
        assert!(!sqlite.contains("plpgsql") && !postgresql.contains("STRICT"));
    }
}

/// A volume with an extension, a snapshot of it and one that outlived its volume, as the versions before usage by flavor have them.
const OF_BEFORE: &str = "
    INSERT INTO flavors VALUES ('f', 'gold', '', 1);
    INSERT INTO volumes (id, ec2_id, project_id, user_id, name, description, size_gib, status, flavor_id, zone, bootable, failure,
        created_at_us, updated_at_us) VALUES ('v', 'vol-1', 'p', 'u', '', '', 3, 'extending', 'f', 'nova', 0, '', 1, 0);
    INSERT INTO volume_extensions VALUES ('v', 'p', 2);
    INSERT INTO snapshots (id, ec2_id, project_id, user_id, volume_id, name, description, size_gib, status, zone, failure,
        created_at_us, updated_at_us) VALUES ('s', 'snap-1', 'p', 'u', 'v', '', '', 3, 'available', 'nova', '', 1, 0),
        ('t', 'snap-2', 'p', 'u', 'gone', '', '', 7, 'available', 'nova', '', 1, 0);
    INSERT INTO snapshot_origins VALUES ('t', 'g', 0);";
const COUNTED: &str = "SELECT flavor_id || ' ' || volumes || ' ' || gigabytes || ' ' || snapshots FROM type_usage ORDER BY 1";

#[test]
fn what_is_there_already_is_counted_by_flavor() {
    let (before, behind) = MIGRATIONS.split_at(5);
    let expected = ["f 1 8 1", "g 0 7 1"];
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    let run = |migrations: &[&str]| {
        for migration in migrations {
            let text = text_for(Dialect::Sqlite, migration);
            connection.execute_batch(&text).unwrap();
        }
    };
    run(before);
    connection.execute_batch(OF_BEFORE).unwrap();
    run(behind);
    let mut statement = connection.prepare(COUNTED).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0));
    let rows: rusqlite::Result<Vec<String>> = rows.unwrap().collect();
    assert_eq!(rows.unwrap(), expected);
    let Some(cluster) = testkit::postgres::cluster() else {
        return;
    };
    let url = cluster.create_database().unwrap();
    let session = Session::connect(&url.parse().unwrap()).unwrap();
    let run = |migrations: &[&str]| {
        for migration in migrations {
            let text = text_for(Dialect::Postgresql, migration);
            session.batch(&text).unwrap();
        }
    };
    run(before);
    run(&[OF_BEFORE]);
    run(behind);
    run(&[MIGRATIONS[5]]);
    let rows = session.query_once(COUNTED).unwrap();
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, expected);
}

/// A volume that was made with a client token, as the versions before the table of tokens have it.
const OF_TOKENS: &str = "
    INSERT INTO flavors VALUES ('f', 'gold', '', 1);
    INSERT INTO volumes (id, ec2_id, project_id, user_id, name, description, size_gib, status, flavor_id, zone, bootable, failure,
        client_token, client_digest, created_at_us, updated_at_us)
        VALUES ('v', 'vol-1', 'p', 'u', '', '', 3, 'available', 'f', 'nova', 0, '', 'once', 'digest', 7, 0),
        ('w', 'vol-2', 'p', 'u', '', '', 3, 'available', 'f', 'nova', 0, '', NULL, NULL, 7, 0);";
const TOKENS: &str = "SELECT project_id || ' ' || action || ' ' || token || ' ' || digest || ' ' || target || ' ' || created_at_us \
                      FROM client_tokens ORDER BY 1";

#[test]
fn client_tokens_of_volumes_are_still_known() {
    let (before, behind) = MIGRATIONS.split_at(12);
    let expected = ["p CreateVolume once digest v 7"];
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    let run = |migrations: &[&str]| {
        for migration in migrations {
            let text = text_for(Dialect::Sqlite, migration);
            connection.execute_batch(&text).unwrap();
        }
    };
    run(before);
    connection.execute_batch(OF_TOKENS).unwrap();
    run(behind);
    run(&[MIGRATIONS[12]]);
    let mut statement = connection.prepare(TOKENS).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0));
    let rows: rusqlite::Result<Vec<String>> = rows.unwrap().collect();
    assert_eq!(rows.unwrap(), expected);
    let Some(cluster) = testkit::postgres::cluster() else {
        return;
    };
    let url = cluster.create_database().unwrap();
    let session = Session::connect(&url.parse().unwrap()).unwrap();
    let run = |migrations: &[&str]| {
        for migration in migrations {
            let text = text_for(Dialect::Postgresql, migration);
            session.batch(&text).unwrap();
        }
    };
    run(before);
    run(&[OF_TOKENS]);
    run(behind);
    run(&[MIGRATIONS[12]]);
    let rows = session.query_once(TOKENS).unwrap();
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, expected);
}
