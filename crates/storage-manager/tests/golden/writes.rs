//! What was written to VDIs past the API while the recordings were made, written here through an attachment.

use nbd::client::ZeroMode;

use crate::consumer::Consumer;
use crate::support::Client;

/// Bytes of a block of changed block tracking.
const CBT_BLOCK: u64 = 64 << 10;

/// Bytes of a VHD block.
const VHD_BLOCK: u64 = 2 << 20;

/// What is written before a step.
pub struct Write {
    scenario: &'static str,
    step: u32,
    /// Which parameter of the step's call names the VDI, counted with the session.
    pub parameter: usize,
    what: What,
}

enum What {
    /// One byte at each of these places.
    Bytes(&'static [u64]),
    /// Zeros over everything, as an import of zeros.
    Zeros,
}

/// Every write. The blocks of the scenario cbt are those that its answers tell.
static WRITES: [Write; 4] = [
    Write {
        scenario: "chain-with-data",
        step: 2,
        parameter: 1,
        what: What::Bytes(&[0, VHD_BLOCK]),
    },
    Write {
        scenario: "chain-with-data",
        step: 13,
        parameter: 1,
        what: What::Bytes(&[VHD_BLOCK, 2 * VHD_BLOCK]),
    },
    Write {
        scenario: "cbt",
        step: 9,
        parameter: 2,
        what: What::Bytes(&[48 * CBT_BLOCK, 115 * CBT_BLOCK]),
    },
    Write {
        scenario: "cbt-import",
        step: 1,
        parameter: 1,
        what: What::Zeros,
    },
];

/// What is written before a step.
pub fn before(scenario: &str, step: u32) -> Option<&'static Write> {
    WRITES
        .iter()
        .find(|write| write.scenario == scenario && write.step == step)
}

impl Write {
    /// Attaches the VDI, writes and detaches it.
    pub fn make(&self, client: &mut Client, vdi: &str) {
        let mut consumer = Consumer::attach(client, vdi, "RW");
        match self.what {
            What::Bytes(places) => places
                .iter()
                .for_each(|place| consumer.nbd.write(&[1; 512], *place).unwrap()),
            What::Zeros => {
                let size = consumer.nbd.size();
                let zeroed = consumer.nbd.write_zeroes(0, size, ZeroMode::MayPunch);
                zeroed.unwrap();
            }
        }
        consumer.detach(client);
    }
}
