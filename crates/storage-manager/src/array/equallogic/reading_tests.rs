//! Reading what a group shows: texts as groups write them, and texts that nobody writes.

use proptest::prelude::*;

use super::access::{self, AccessRecord};
use super::error::{CliError, Refusal};
use super::fields::Fields;
use super::screen::{Answer, Awaited, Prompt, awaited, has_echo, is_noise, text_of};
use super::size::{self, MEGABYTE, PAGE, Shown};
use super::table::Table;

const SHOW: &str = "volume select data show";

/// The answer of a volume as groups with `formatoutput off` write it.
const VOLUME: &str =
    "_______________________________ Volume Information ________________________________\r
Name: data\r
Size: 1GB\r
VolReserve: 1.01GB\r
VolReserveInUse: 0MB\r
ReplReserveInUse: 0MB\r
iSCSI Alias: data\r
iSCSI Name: iqn.2001-05.com.equallogic:0-8a0906-19f91850c-067000000b4532c1-data\r
ActualMembers: 1\r
Snap-Warn: 10%\r
Snap-Depletion: delete-oldest\r
Description: \r
Snap-Reserve: 100%\r
Snap-Reserve-Avail: 100% (1.01GB)\r
Permission: read-write\r
DesiredStatus: online\r
Status: online\r
Connections: 0\r
Snapshots: 0\r
Bind: \r
Type: not-replicated\r
ReplicationReserveSpace: 0MB\r
";

const EVENT: &str = "7:12:PS6000-1:SP:22-Nov-2026 16:10:11.120023:targetAttr.cc:1303:INFO:7.2.15:iSCSI login to target '10.0.0.5:3260, iqn.2001-05.com.equallogic:x' from initiator was successful";

fn screen(command: &str, body: &str) -> String {
    text_of(format!("{command}\r\n{body}group-0> ").as_bytes())
}

fn answer(command: &str, body: &str) -> Answer {
    Answer::of(&screen(command, body), command).unwrap()
}

#[test]
fn a_volume_is_read() {
    let fields = Fields::of(&answer(SHOW, VOLUME), SHOW);
    assert_eq!(fields.need("Name").unwrap(), "data");
    assert_eq!(fields.get("Description").unwrap(), None);
    assert_eq!(
        Shown::parse(fields.need("VolReserve").unwrap())
            .unwrap()
            .bytes
            / MEGABYTE,
        1034
    );
    assert!(fields.need("iSCSI Name").unwrap().ends_with("-data"));
    let error = fields.need("Nothing").unwrap_err();
    assert!(
        error.to_string().contains("nothing is missing")
            || error.to_string().contains("Nothing is missing"),
        "{error}"
    );
}

/// Events between the lines, before the echo and with a prompt that is shown again change nothing.
#[test]
fn events_are_no_part_of_an_answer() {
    let plain = answer(SHOW, VOLUME);
    let lines: Vec<&str> = VOLUME.split_inclusive('\n').collect();
    for at in 0..=lines.len() {
        let noisy = [
            &lines[..at].concat(),
            EVENT,
            "\r\nLevel: 5\r\n",
            &lines[at..].concat(),
        ]
        .concat();
        assert_eq!(answer(SHOW, &noisy), plain, "at line {at}");
    }
    let before = format!("\r\n{EVENT}\r\ngroup-0> {SHOW}\r\n{VOLUME}group-0> ");
    assert_eq!(
        Answer::of(&text_of(before.as_bytes()), SHOW).unwrap(),
        plain
    );
    assert!(is_noise(EVENT));
    for line in VOLUME.lines() {
        assert!(!is_noise(line), "{line}");
    }
}

/// An answer whose echo is that of another command is none, whatever it says.
#[test]
fn the_echo_tells_whose_answer_it_is() {
    let other = screen("volume select other show", VOLUME);
    assert!(matches!(
        Answer::of(&other, SHOW),
        Err(CliError::Unreadable { .. })
    ));
    assert!(!has_echo("group-0> ", SHOW));
    // A terminal may break a long line where it likes.
    for at in 1..SHOW.len() {
        let (first, rest) = SHOW.split_at(at);
        for broken in [format!("{first}\r\n{rest}"), format!("{first} \r{rest}")] {
            let text = text_of(format!("{broken}\r\n{VOLUME}group-0> ").as_bytes());
            assert_eq!(
                Answer::of(&text, SHOW).unwrap(),
                answer(SHOW, VOLUME),
                "{broken:?}"
            );
        }
    }
}

#[test]
fn refusals_are_told_apart() {
    for (text, refusal) in [
        ("% Error - Volume does not exist.", Refusal::NotFound),
        ("% Error - The name is already in use.", Refusal::Exists),
        (
            "% Error - Not enough free space in the pool\r\n            for the volume.",
            Refusal::NoSpace,
        ),
        (
            "% Error - User does not have permission to do that.",
            Refusal::Permission,
        ),
        (
            "% Error - Volume is online; set it offline first.",
            Refusal::Busy,
        ),
        ("% Error - Something else.", Refusal::Other),
        ("Error: Bad command", Refusal::Other),
    ] {
        let text = format!("{text}\r\n");
        let error = Answer::of(&screen(SHOW, &text), SHOW).unwrap_err();
        assert_eq!(error.refusal(), Some(refusal), "{error}");
        assert!(!error.to_string().contains("% Error"), "{error}");
    }
    // Words of an error inside of a line are none.
    answer(SHOW, "Description: 100% Error - prone\r\n");
}

#[test]
fn prompts_pages_and_questions_are_seen() {
    let prompt = |text: &str| match awaited(text, None) {
        Awaited::Command(Prompt { group, context }) => Some((group, context)),
        _ => None,
    };
    assert_eq!(
        prompt("Welcome\n\ngroup-0> "),
        Some(("group-0".to_owned(), None))
    );
    let inside = ("eql".to_owned(), Some("volume_volname".to_owned()));
    assert_eq!(prompt("eql (volume_volname)> "), Some(inside));
    for text in [
        "group-0>",
        "group-0> x",
        "a b> ",
        "> ",
        "group-0> \n",
        "eql (volume> ",
        "",
    ] {
        assert_eq!(prompt(text), None, "{text:?}");
    }
    assert_eq!(awaited("other> ", Some("group-0")), Awaited::Output);
    for text in ["-- More --", "--More--", "Press any key to continue"] {
        assert_eq!(awaited(text, None), Awaited::Page, "{text}");
    }
    assert_eq!(
        awaited("Do you really want to delete the volume? (y/n) [n]", None),
        Awaited::Confirmation
    );
}

#[test]
fn terminals_are_read() {
    assert_eq!(
        text_of(b"\x1b[2J\x1b[1;1Hab\x08c\r\n\x07d\te\xff"),
        "ac\nd e?"
    );
    assert_eq!(text_of(b"\x1b["), "");
    assert_eq!(
        text_of(b"-- More --\r          \rnext"),
        "-- More --\n          \nnext"
    );
}

/// Two lines for each record where the name is long, one where it is not; with and without columns.
#[test]
fn access_records_are_read() {
    let expected = [
        (1, Some("iqn.1991-05.com.example:the-first-host"), None),
        (2, None, None),
        (3, Some("iqn.2001.a:b"), Some("tom")),
    ];
    let expected: Vec<AccessRecord> = expected
        .into_iter()
        .map(|(id, initiator, user)| AccessRecord {
            id,
            initiator: initiator.map(str::to_owned),
            chap_user: user.map(str::to_owned),
        })
        .collect();
    let wrapped = "ID  Initiator       Ipaddress       AuthMethod UserName   Apply-To\r
--- --------------- --------------- ---------- ---------- --------\r
1   iqn.1991-05.com *.*.*.*         none                  both\r
      .example:the-first-host\r
2   *               10.0.0.9        none                  both\r
3   iqn.2001.a:b    *.*.*.*         chap       tom        volume\r
";
    assert_eq!(access::records(&answer("x", wrapped)), expected);
    let tight = wrapped.replace("      .example", " .example");
    assert_eq!(access::records(&answer("x", &tight)), expected);
    let straight = "ID  Initiator       Ipaddress       AuthMethod UserName   Apply-To\r
--- --------------- --------------- ---------- ---------- --------\r
1   iqn.1991-05.com.example:the-first-host *.*.*.*         none       none       both\r
";
    assert_eq!(access::records(&answer("x", straight)), expected[..1]);
    assert_eq!(access::records(&answer("x", "")), []);
}

/// Names of 62 characters do not fit their column: each half of a name is put together again.
#[test]
fn lists_are_read() {
    let name = format!(
        "XenStorage{}",
        "0123456789abcdef0123".repeat(3).split_at(52).0
    );
    let header = "Name                 Size       Snapshots Status  Permission Connections T\r
-------------------- ---------- --------- ------- ---------- ----------- -\r
";
    let (first, rest) = name.split_at(20);
    let (second, third) = rest.split_at(18);
    let (third, fourth) = third.split_at(18);
    let wrapped = format!(
        "{header}{first} 1GB        0         online  read-write 0           N\r\n  {second}\r\n  {third}\r\n  {fourth}\r\ndata                 10GB       2         offline read-write 0           Y\r\n"
    );
    let straight = format!(
        "{header}{name} 1GB 0 online read-write 0 N\r\ndata                 10GB       2         offline read-write 0           Y\r\n"
    );
    for text in [wrapped, straight] {
        let answer = answer("volume show", &text);
        let table = Table::of(&answer, 0);
        let rows: Vec<_> = table
            .rows()
            .map(|row| (row.first(), row.get("size"), row.get("Status")))
            .collect();
        assert_eq!(
            rows,
            [
                (name.as_str(), Some("1GB"), Some("online")),
                ("data", Some("10GB"), Some("offline"))
            ]
        );
    }
}

#[test]
fn sizes_are_read_and_written() {
    for (text, bytes) in [
        ("0MB", 0),
        ("1035MB", 1035 * MEGABYTE),
        ("1GB", 1 << 30),
        ("1.5 TB", 3 << 39),
        ("1.01GB (more)", 1_084_479_242),
    ] {
        assert_eq!(Shown::parse(text).unwrap().bytes, bytes, "{text}");
    }
    for text in [
        "",
        "GB",
        "1",
        "1.2.3GB",
        ".5GB",
        "1XB",
        "-1GB",
        "99999999999GB",
        "1.1234GB",
    ] {
        assert_eq!(Shown::parse(text), None, "{text}");
    }
    assert_eq!(size::percent("100% (1.01GB)"), Some(100));
    assert_eq!(size::percent("none"), None);
    assert_eq!(size::pages_for(1 << 30), Some(69));
    assert_eq!(size::pages_for(u64::MAX), None);
    assert_eq!(size::argument(69), "1035MB");
    // What was noted counts where it can be meant, and less where there is less.
    let shown = |text| Shown::parse(text).unwrap();
    assert_eq!(shown("1.01GB").pages(69), 69);
    assert_eq!(shown("1GB").pages(69), 69);
    assert_eq!(shown("1035MB").pages(70), 69);
    assert_eq!(shown("1050MB").pages(69), 70);
}

proptest! {
    /// Whatever bytes come: no reading panics.
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), command in "[ -~]{0,60}") {
        let text = text_of(&bytes);
        let _ = awaited(&text, Some("group-0"));
        let _ = has_echo(&text, &command);
        let screen = format!("{command}\n{text}\ngroup-0> ");
        if let Ok(answer) = Answer::of(&screen, &command) {
            let _ = (access::records(&answer), Fields::of(&answer, &command).get("Name").map(drop));
            let _ = (answer.after("iSCSI target name is"), Table::of(&answer, 3));
        }
    }

    /// Whatever lines come, in the shapes that groups use: no reading panics.
    #[test]
    fn no_lines_panic(lines in proptest::collection::vec(
        prop_oneof![
            "[-_ ]{0,60}", "[A-Za-z ]{0,12}: [ -~]{0,30}", " {1,8}[a-z.:]{0,20}", "[0-9]{1,12}(\\.[0-9]{0,6})?[KMGTP]?B?", "[ -~]{0,80}",
        ], 0..20)) {
        let text = lines.join("\n");
        let answer = Answer::of_lines(&text);
        let _ = access::records(&answer);
        let table = Table::of(&answer, 0);
        for row in table.rows() {
            let _ = (row.first(), row.get("Name"));
        }
        for line in &lines {
            if let Some(shown) = Shown::parse(line) {
                prop_assert!(shown.pages(u64::MAX) <= u64::MAX / PAGE);
            }
        }
    }

    /// Every part of a volume's answer that is cut off, and every line that is lost, is noticed or changes nothing that is read.
    #[test]
    fn what_is_cut_off_is_not_misread(cut in 0..VOLUME.len()) {
        let text = screen(SHOW, VOLUME);
        // Without the prompt an answer has no end, so nothing is read.
        prop_assert_eq!(awaited(&text[..cut.min(text.len() - 1)], Some("group-0")), Awaited::Output);
        let part = Answer::of(&screen(SHOW, &format!("{}\r\n", &VOLUME[..cut])), SHOW);
        let fields = Fields::of(&part.unwrap(), SHOW);
        // Only the line that was cut may differ, and a name or size that is cut is one of those.
        let whole = Fields::of(&answer(SHOW, VOLUME), SHOW);
        for key in ["Name", "Size", "Status", "Snapshots", "iSCSI Name"] {
            if let Ok(Some(value)) = fields.get(key) {
                prop_assert!(whole.need(key).unwrap().starts_with(value));
            }
        }
    }

    /// Names and descriptions of others, with events between the lines, change nothing of what is read of ours.
    #[test]
    fn neighbours_change_nothing(
        names in proptest::collection::vec("[a-z][a-z0-9.:-]{0,61}", 0..6),
        at in 0..7_usize,
    ) {
        let ours = format!("XenStorage{}", "a1".repeat(26));
        let mut all = names.clone();
        all.insert(at.min(names.len()), ours.clone());
        let rows: String = all.iter().map(|name| format!("{name}  5GB 0 online read-write 0 N\r\n{EVENT}\r\n")).collect();
        let text = format!("Name            Size       Snapshots Status  Permission Connections T\r\n--------------- ---------- --------- ------- ---------- ----------- -\r\n{rows}");
        let answer = answer("volume show", &text);
        let table = Table::of(&answer, 0);
        let read: Vec<String> = table.rows().map(|row| row.first().to_owned()).collect();
        prop_assert_eq!(read, all);
    }
}
