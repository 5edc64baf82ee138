//! The kept schema files equal what the migrations make. `XENSM_UPDATE_SCHEMA=1` writes them.

use std::path::Path;

use crate::support::on_each;

const SQLITE: &[&str] = &[
    "SELECT sql || ';' FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type DESC, name",
];

const POSTGRESQL: &[&str] = &[
    "SELECT CAST('column ' || table_name || '.' || column_name || ' ' || data_type || COALESCE(' collate ' || collation_name, '') \
     || CASE is_nullable WHEN 'YES' THEN '' ELSE ' not null' END AS TEXT) \
     FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position",
    "SELECT CAST('constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) AS TEXT) \
     FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'u', 'f', 'c') ORDER BY 1",
    "SELECT CAST('index ' || indexdef AS TEXT) FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname",
    "SELECT CAST('trigger ' || pg_get_triggerdef(oid) AS TEXT) FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname",
];

#[test]
fn the_schema_files_are_what_the_migrations_make() {
    on_each(|bench| async move {
        let (name, queries) = if bench.url.starts_with("sqlite:") {
            ("sqlite.sql", SQLITE)
        } else {
            ("postgresql.txt", POSTGRESQL)
        };
        let mut found = String::new();
        for query in queries {
            let lines = bench
                .service
                .database
                .read(move |tx| tx.query(query, &[], |row| row.text(0)))
                .await
                .unwrap();
            for line in lines {
                found.push_str(&line);
                found.push('\n');
            }
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/db/schema")
            .join(name);
        if std::env::var_os("XENSM_UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, &found).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(
            kept == found,
            "{name} is not what the migrations make; run with XENSM_UPDATE_SCHEMA=1 and look at the change"
        );
    });
}
