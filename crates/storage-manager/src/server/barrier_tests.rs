use super::*;

fn ticket(value: &str) -> Ticket {
    Ticket::parse(value).unwrap()
}

fn code(failed: Result<(), Failure>) -> String {
    failed.unwrap_err().code
}

const NOT_TOGETHER: &str = "SR_BACKEND_FAILURE_470";

#[test]
fn what_a_ticket_may_be() {
    let long = "x".repeat(NAME_BYTES);
    for (value, name, members) in [
        ("a/1", "a", 1),
        ("a/b/128", "a/b", 128),
        (&format!("{long}/2"), &long, 2),
    ] {
        let name = name.to_owned();
        assert_eq!(ticket(value), Ticket { name, members });
    }
    let too_long = format!("{long}x/2");
    for value in [
        "", "a", "/2", "a/", "a/0", "a/129", "a/-1", "a b/2", "a/x", &too_long,
    ] {
        let failure = Ticket::parse(value).unwrap_err();
        assert_eq!(failure.code, "INVALID_VALUE", "{value}");
        assert_eq!(failure.params[1], value);
    }
}

#[test]
fn a_barrier_is_there_while_somebody_is_in_it() {
    let barriers = Barriers::default();
    let first = barriers.join(&ticket("a/2")).unwrap();
    let second = barriers.join(&ticket("a/2")).unwrap();
    assert_eq!(
        barriers.join(&ticket("a/2")).err().unwrap().code,
        NOT_TOGETHER
    );
    drop(first);
    assert_eq!(barriers.by_name().len(), 1);
    drop(second);
    assert!(barriers.by_name().is_empty());
}

#[test]
fn there_are_only_so_many_barriers() {
    let barriers = Barriers::default();
    let joined: Vec<_> = (0..BARRIERS)
        .map(|number| barriers.join(&ticket(&format!("{number}/2"))).unwrap())
        .collect();
    assert_eq!(
        barriers.join(&ticket("more/2")).err().unwrap().code,
        NOT_TOGETHER
    );
    assert!(
        barriers.join(&ticket("0/2")).is_ok(),
        "one that is there goes on"
    );
    drop(joined);
    assert!(barriers.join(&ticket("more/2")).is_ok());
}

#[tokio::test]
async fn who_leaves_early_breaks_it_for_all() {
    let barriers = Barriers::default();
    let stays = barriers.join(&ticket("a/2")).unwrap();
    let leaves = barriers.join(&ticket("a/2")).unwrap();
    let never = |_: &State| false;
    let waiting = async { stays.wait_for(never).await };
    let leaving = async { drop(leaves) };
    let (waited, ()) = tokio::join!(waiting, leaving);
    assert_eq!(code(waited), NOT_TOGETHER);
    let late = barriers.join(&ticket("a/2")).unwrap();
    assert_eq!(code(late.wait_for(never).await), NOT_TOGETHER);
}

#[tokio::test]
async fn who_gives_another_number_breaks_it() {
    let barriers = Barriers::default();
    let first = barriers.join(&ticket("a/2")).unwrap();
    let other = barriers.join(&ticket("a/3")).err().unwrap();
    assert_eq!(other.code, "INVALID_VALUE");
    assert_eq!(code(first.wait_for(|_| false).await), NOT_TOGETHER);
}

#[tokio::test]
async fn it_is_all_or_none_at_the_end() {
    let barriers = Barriers::default();
    let members = [(); 3].map(|()| barriers.join(&ticket("a/3")).unwrap());
    let all = |state: &State| state.taken == 3;
    let [first, second, third] = members;
    first.note(3, |state| &mut state.taken);
    second.note(3, |state| &mut state.taken);
    let limit = Duration::from_millis(1);
    assert_eq!(code(first.wait(limit, "late", all).await), NOT_TOGETHER);
    // What comes after the break does not mend it.
    third.note(3, |state| &mut state.taken);
    assert_eq!(code(third.wait_for(all).await), NOT_TOGETHER);
    drop((first, second, third));

    let members = [(); 2].map(|()| barriers.join(&ticket("a/2")).unwrap());
    let both = |state: &State| state.taken == 2;
    for member in &members {
        member.note(2, |state| &mut state.taken);
    }
    let [first, second] = members;
    // Who leaves after the end breaks nothing.
    drop(first);
    second.wait_for(both).await.unwrap();
}
