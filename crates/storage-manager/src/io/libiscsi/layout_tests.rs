//! Compares the declarations with the header of the installed package.

use std::mem::{offset_of, size_of};
use std::process::Command;

use super::functions::{RawDiscovered, RawIovec, RawPortal, RawSense, RawTask};

/// Prints what the header says, one figure a line.
const PROGRAM: &str = r#"
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#define AT(type, field) printf("%zu\n", offsetof(struct type, field))
int main(void) {
    AT(scsi_task, status); AT(scsi_task, cdb_size); AT(scsi_task, xfer_dir); AT(scsi_task, expxferlen);
    AT(scsi_task, cdb); AT(scsi_task, residual_status); AT(scsi_task, residual); AT(scsi_task, sense);
    AT(scsi_sense, error_type); AT(scsi_sense, key); AT(scsi_sense, ascq);
    AT(scsi_iovec, iov_base); AT(scsi_iovec, iov_len); printf("%zu\n", sizeof(struct scsi_iovec));
    AT(iscsi_target_portal, next); AT(iscsi_target_portal, portal);
    AT(iscsi_discovery_address, next); AT(iscsi_discovery_address, target_name); AT(iscsi_discovery_address, portals);
    printf("%d\n%d\n%d\n%d\n", SCSI_CDB_MAX_SIZE, SCSI_XFER_NONE, SCSI_XFER_READ, SCSI_XFER_WRITE);
    printf("%d\n%d\n", SCSI_RESIDUAL_UNDERFLOW, SCSI_RESIDUAL_OVERFLOW);
    printf("%d\n%d\n", ISCSI_SESSION_DISCOVERY, ISCSI_SESSION_NORMAL);
    printf("%d\n%d\n", ISCSI_HEADER_DIGEST_NONE, ISCSI_HEADER_DIGEST_CRC32C_NONE);
    printf("%d\n%d\n%d\n", SCSI_STATUS_REDIRECT, SCSI_STATUS_CANCELLED, SCSI_STATUS_ERROR);
    return 0;
}
"#;

#[test]
fn structures_are_laid_out_as_in_the_header() {
    let header = "/usr/include/iscsi/iscsi.h";
    if !std::path::Path::new(header).exists() || testkit::tool::program("cc").is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "{header} or cc is missing; run: cargo xtask setup"
        );
        println!("SKIPPED: {header} or cc is missing; run: cargo xtask setup");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("l.c"), directory.path().join("l"));
    std::fs::write(&source, PROGRAM).unwrap();
    testkit::tool::run(Command::new("cc").arg("-o").arg(&program).arg(&source));
    let figures = testkit::tool::run(&mut Command::new(&program));
    let figures: Vec<usize> = figures.lines().map(|line| line.parse().unwrap()).collect();
    let ours = [
        offset_of!(RawTask, status),
        offset_of!(RawTask, cdb_size),
        offset_of!(RawTask, xfer_dir),
        offset_of!(RawTask, expxferlen),
        offset_of!(RawTask, cdb),
        offset_of!(RawTask, residual_status),
        offset_of!(RawTask, residual),
        offset_of!(RawTask, sense),
        offset_of!(RawSense, error_type),
        offset_of!(RawSense, key),
        offset_of!(RawSense, ascq),
        offset_of!(RawIovec, base),
        offset_of!(RawIovec, length),
        size_of::<RawIovec>(),
        offset_of!(RawPortal, next),
        offset_of!(RawPortal, portal),
        offset_of!(RawDiscovered, next),
        offset_of!(RawDiscovered, target_name),
        offset_of!(RawDiscovered, portals),
        super::functions::MAX_CDB,
        0,
        1,
        2,
        1,
        2,
        1,
        2,
        0,
        2,
        0x101,
        0x0f00_0000,
        0x0f00_0001,
    ];
    assert_eq!(figures, ours);
}
