//! The emulated ONTAP array as clients that others wrote see it.

use std::path::Path;
use std::process::Command;

use testkit::ontap::{OntapEmulator, Options};
use testkit::tool;

/// NetApp's own client of the REST API, which checks answers against the documented models.
#[test]
fn netapps_client_finds_what_is_documented() {
    let Some(python) = tool::python_package("netapp_ontap") else {
        return;
    };
    // From 9.16 on, new LUNs are made by jobs as well.
    let options = Options {
        version: [9, 16, 1],
        ..Options::default()
    };
    let Some(array) = OntapEmulator::start(options) else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let certificate = directory.path().join("certificate.pem");
    std::fs::write(&certificate, array.certificate()).expect("write the certificate");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/ontap_rest.py");
    let login = &array.logins()[0];
    let mut client = Command::new(&python);
    // These would count for more than what the client is told to trust.
    client
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("CURL_CA_BUNDLE");
    client.arg(script).arg(array.address());
    client.arg(array.https_port().to_string());
    client.args([&login.user, &login.password]);
    let said = tool::run(client.arg(certificate));
    assert!(said.ends_with("ok\n"), "{said}");
}
