//! An emulated ONTAP array to try clients on: prints where it is as JSON, and runs until its input ends, ten minutes at most.
//!
//! Arguments: the version (9.14.1), and FlexVols of 10 GiB to begin with.
#![allow(clippy::print_stdout, reason = "a program")]

use std::io::Read;

use serde_json::json;
use testkit::ontap::state::volumes::Volume;
use testkit::ontap::{OntapEmulator, Options};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let version = arguments.next().unwrap_or_else(|| "9.14.1".to_owned());
    let numbers: Vec<u32> = version
        .split('.')
        .filter_map(|number| number.parse().ok())
        .collect();
    let options = Options {
        version: numbers.try_into().expect("a version of three numbers"),
        ..Options::default()
    };
    let array = OntapEmulator::start(options).expect("tgt is installed");
    array.with(|cluster| {
        for name in arguments {
            let volume = Volume::new(&name, "svm1", "aggr1", 10 << 30);
            cluster.volumes.push(volume);
        }
    });
    let certificate = array.certificate();
    let login = &array.logins()[0];
    println!(
        "{}",
        json!({
            "address": array.address(), "https_port": array.https_port(), "http_port": array.http_port(), "svm": "svm1",
            "user": login.user, "password": login.password, "certificate": certificate,
        })
    );
    // The end of the input is the end of the array.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
