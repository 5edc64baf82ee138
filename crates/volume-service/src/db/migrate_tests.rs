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
        assert!(!sqlite.contains(['{', '}']) && !postgresql.contains(['{', '}']));
        assert!(!sqlite.contains("plpgsql") && !postgresql.contains("STRICT"));
    }
}
