//! An instance: a virtual machine, or a control domain, that volumes are attached to.

use uuid::Uuid;

use super::id::InstanceId;

/// The project in an instance's list that stands for every one.
pub const EVERY_PROJECT: &str = "*";
/// Positions of block devices that XenAPI has.
pub const POSITIONS: u32 = 255;
/// Letters of a device name.
const LETTERS: u32 = 26;

/// An instance as its pool last said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The VM's uuid.
    pub id: InstanceId,
    /// The zone whose pool has it.
    pub zone: String,
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub power_state: PowerState,
    /// True for the control domain of a host.
    pub is_control_domain: bool,
    /// Its type's name.
    pub instance_type: String,
    /// How many processors it has.
    pub vcpus: u32,
    /// How much memory it has, in MiB.
    pub memory_mib: u64,
    /// When it was started; microseconds since 1970.
    pub started_at_us: i64,
    /// Its block devices, ours and others.
    pub devices: Vec<BlockDevice>,
    /// When this service first saw it; microseconds since 1970.
    pub created_at_us: i64,
    /// When the pool no longer had it; microseconds since 1970.
    pub gone_at_us: Option<i64>,
}

impl Instance {
    /// Of what its positions are unique in: a control domain's are names that each project has for itself.
    pub fn scope(&self, project_id: &str) -> String {
        match self.is_control_domain {
            true => project_id.to_owned(),
            false => String::new(),
        }
    }
}

/// A block device of a VM.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BlockDevice {
    /// The VBD's uuid.
    pub vbd_uuid: Uuid,
    /// Its position.
    pub position: Option<u32>,
    /// The name that the guest has for it; empty while it is not plugged.
    pub device: String,
    /// True when the VM starts from it.
    pub is_bootable: bool,
    /// The attachment that it was made for, when its marks say so and this deployment made it.
    pub attachment: Option<Uuid>,
}

/// Whether a VM runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowerState {
    /// It runs.
    Running,
    /// It is off.
    Halted,
    /// It is in memory and stands still.
    Paused,
    /// Its memory is on a disk.
    Suspended,
}

impl PowerState {
    /// Every state.
    pub const ALL: [PowerState; 4] = [
        PowerState::Running,
        PowerState::Halted,
        PowerState::Paused,
        PowerState::Suspended,
    ];

    /// XenAPI's word, which is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            PowerState::Running => "Running",
            PowerState::Halted => "Halted",
            PowerState::Paused => "Paused",
            PowerState::Suspended => "Suspended",
        }
    }

    /// Parses the word, whatever the case of its letters.
    pub fn parse(text: &str) -> Option<Self> {
        PowerState::ALL
            .into_iter()
            .find(|state| state.as_str().eq_ignore_ascii_case(text))
    }
}

/// An attachment that this service makes in an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceAttachment {
    /// The instance.
    pub instance_id: InstanceId,
    /// See [`Instance::scope`].
    pub scope: String,
    /// The device's position.
    pub position: u32,
    /// Whether the volume goes when the instance goes for good.
    pub delete_on_termination: bool,
    /// Whether the end was asked for without the guest's consent.
    pub is_forced: bool,
    /// Whether the instance is gone for good.
    pub is_terminated: bool,
    /// The VBD, once it is made.
    pub vbd_uuid: Option<Uuid>,
}

/// The position that a device name stands for: `/dev/sdf`, `xvdf` and `/dev/hdf` are 5, `/dev/nbd7` is 7 and of control domains only.
/// None for what is no device name, and for partitions.
pub fn position_of(device: &str, is_control_domain: bool) -> Option<u32> {
    let name = device.strip_prefix("/dev/").unwrap_or(device);
    if let Some(number) = name.strip_prefix("nbd") {
        let are_digits = number.bytes().all(|digit| digit.is_ascii_digit());
        let is_plain = are_digits && (number == "0" || !number.starts_with('0'));
        let number: Option<u32> = number.parse().ok().filter(|_| is_plain);
        return number.filter(|number| is_control_domain && *number < POSITIONS);
    }
    let mut prefixes = ["xvd", "sd", "hd"].iter();
    let letters = prefixes.find_map(|prefix| name.strip_prefix(prefix))?;
    let are_letters = letters.bytes().all(|letter| letter.is_ascii_lowercase());
    if !are_letters || !(1..=2).contains(&letters.len()) {
        return None;
    }
    let number = letters.bytes().fold(0, |number, letter| {
        number * LETTERS + u32::from(letter - b'a') + 1
    });
    Some(number - 1).filter(|position| *position < POSITIONS)
}

/// The name of a position in a guest: 5 is `xvdf`, 26 is `xvdaa`.
pub fn name_of(position: u32) -> String {
    let letter = |number: u32| char::from(b'a' + u8::try_from(number % LETTERS).unwrap_or(0));
    match position {
        0..LETTERS => format!("xvd{}", letter(position)),
        _ => format!("xvd{}{}", letter(position / LETTERS - 1), letter(position)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_stand_for_positions() {
        for (name, position) in [
            ("/dev/sdf", 5),
            ("xvdf", 5),
            ("/dev/xvda", 0),
            ("hdd", 3),
            ("/dev/xvdz", 25),
            ("/dev/sdaa", 26),
            ("xvdba", 52),
            ("xvdiu", 254),
        ] {
            assert_eq!(position_of(name, false), Some(position), "{name}");
        }
        for position in 0..POSITIONS {
            assert_eq!(position_of(&name_of(position), false), Some(position));
        }
        for name in [
            "",
            "/dev/",
            "/dev/sd",
            "sda1",
            "xvdiv",
            "xvdaaa",
            "sdA",
            "vdb",
            "/dev//sdf",
            "sdf ",
            "/dev/sd\u{e9}",
            "/dev/nbd3",
        ] {
            assert_eq!(position_of(name, false), None, "{name:?}");
        }
    }

    #[test]
    fn a_control_domain_has_network_devices_too() {
        assert_eq!(position_of("/dev/nbd3", true), Some(3));
        assert_eq!(position_of("/dev/sdf", true), Some(5));
        for name in ["nbd", "nbd-1", "nbd255", "nbd03", "nbd99999999999", "nbd+1"] {
            assert_eq!(position_of(name, true), None, "{name:?}");
        }
    }
}
