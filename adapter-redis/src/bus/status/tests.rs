use super::*;

const A: LaneId = LaneId(1);
const B: LaneId = LaneId(2);
const SETTLE: Duration = Duration::from_secs(3);
const SILENCE: Duration = Duration::from_secs(5);

#[test]
fn a_lane_is_up_when_a_probe_came_back() {
    let (mut status, now) = status(&[A]);
    assert_eq!(status.next_probe(A, now), None);
    status.handle_publisher(A, true, now);
    assert_eq!(status.next_probe(A, now), None);
    status.handle_synced(A, true, now);
    assert!(status.wants_probe(A));
    let probe = status.next_probe(A, now).unwrap();
    assert!(!status.wants_probe(A));
    assert!(!status.is_up());
    let later = now + Duration::from_millis(3);
    let lag = status.handle_probe_heard(A, probe, later);
    assert_eq!(lag, Some(Duration::from_millis(3)));
    assert!(status.is_up());
    assert_eq!(status.handle_probe_heard(A, probe, later), None);
}

#[test]
fn a_problem_keeps_it_down() {
    let (mut status, now) = status(&[A]);
    bring_up(&mut status, A, now);
    status.set_problem(Some(Problem::TagTaken("gw-2".to_owned())));
    assert!(!status.is_up());
    status.set_problem(None);
    assert!(status.is_up());
}

#[test]
fn what_is_wrong_is_told() {
    let (mut status, now) = status(&[A]);
    let trouble = |status: &Status| status.trouble().unwrap_or_default();
    assert_eq!(trouble(&status), "no connection to Redis");
    status.handle_failure(A, End::Publisher, "WRONGPASS no".to_owned());
    assert_eq!(trouble(&status), "no connection to Redis: WRONGPASS no");
    status.handle_publisher(A, true, now);
    assert_eq!(trouble(&status), "subscriptions are not in force");
    status.handle_unsubscribed(A, "NOPERM no");
    assert_eq!(
        trouble(&status),
        "subscriptions are not in force: NOPERM no"
    );
    status.handle_synced(A, true, now);
    assert_eq!(
        trouble(&status),
        "a message to oneself did not come back yet"
    );
    bring_up(&mut status, A, now);
    assert_eq!(status.trouble(), None);
    status.set_problem(Some(Problem::IdTaken));
    assert_eq!(
        trouble(&status),
        "another node has the same cluster.node_id"
    );
}

#[test]
fn every_lane_has_to_be_up() {
    let (mut status, now) = status(&[A, B]);
    bring_up(&mut status, A, now);
    assert!(!status.is_up());
    bring_up(&mut status, B, now);
    assert!(status.is_up());
    status.set_lanes(&[A]);
    assert!(status.is_up());
    status.set_lanes(&[]);
    assert!(!status.is_up());
}

#[test]
fn a_lost_connection_takes_it_down_until_the_next_probe() {
    for lose in [
        |status: &mut Status, now| status.handle_publisher(A, false, now),
        |status: &mut Status, now| assert!(status.handle_synced(A, false, now)),
    ] {
        let (mut status, now) = status(&[A]);
        bring_up(&mut status, A, now);
        let old = status.next_probe(A, now).unwrap();
        lose(&mut status, now);
        assert!(!status.is_up());
        status.handle_publisher(A, true, now);
        status.handle_synced(A, true, now);
        assert_eq!(status.handle_probe_heard(A, old, now), None);
        assert!(!status.is_up());
        bring_up(&mut status, A, now);
        assert!(status.is_up());
    }
}

#[test]
fn what_waits_is_published_when_the_peers_are_back_or_after_a_while() {
    let (mut status, now) = status(&[A]);
    status.handle_publisher(A, true, now);
    assert!(!status.is_open(A, now));
    assert_eq!(status.settling(), []);
    bring_up(&mut status, A, now);
    assert_eq!(status.settling(), [A]);
    status.open(A);
    assert!(status.is_open(A, now));
    assert_eq!(status.settling(), []);

    status.handle_publisher(A, false, now);
    status.open(A);
    assert!(!status.is_open(A, now));
    assert!(!status.is_open(A, now + SETTLE));
    status.handle_publisher(A, true, now);
    assert!(!status.is_open(A, now + SETTLE - Duration::from_nanos(1)));
    assert!(status.is_open(A, now + SETTLE));
}

#[test]
fn nothing_is_published_for_a_while_when_the_subscriber_is_lost() {
    let (mut status, now) = status(&[A]);
    bring_up(&mut status, A, now);
    status.open(A);
    status.handle_synced(A, false, now);
    assert!(!status.is_open(A, now));
    assert!(status.is_open(A, now + SETTLE));
}

#[test]
fn who_does_not_hear_what_redis_passed_on_is_deaf() {
    let (mut status, now) = status(&[A]);
    bring_up(&mut status, A, now);
    let probe = status.next_probe(A, now).unwrap();
    let much_later = now + SILENCE * 2;
    let is_deaf = |status: &Status, at| status.is_deaf(A, Some(much_later), at);
    assert!(!is_deaf(&status, much_later), "not confirmed");
    status.handle_probe_confirmed(A, probe, now);
    assert!(!is_deaf(&status, now + SILENCE - Duration::from_nanos(1)));
    assert!(is_deaf(&status, now + SILENCE));
    status.handle_probe_heard(A, probe, now);
    assert!(!is_deaf(&status, now + SILENCE));
}

#[test]
fn what_is_still_on_its_way_is_waited_for() {
    let (mut status, now) = status(&[A]);
    bring_up(&mut status, A, now);
    let probe = status.next_probe(A, now).unwrap();
    let confirmed = now + Duration::from_secs(1);
    status.handle_probe_confirmed(A, probe, confirmed);
    let much_later = now + SILENCE * 20;
    assert!(!status.is_deaf(A, None, much_later));
    assert!(!status.is_deaf(A, Some(now), much_later), "asked before");
    assert!(status.is_deaf(A, Some(confirmed), much_later));
}

#[test]
fn nothing_is_published_while_redis_will_take_it_later() {
    let (mut status, now) = status(&[A]);
    bring_up(&mut status, A, now);
    status.open(A);
    let probe = status.next_probe(A, now).unwrap();
    assert!(status.handle_refused(A, "BUSY a script", true, now));
    assert!(!status.handle_refused(A, "BUSY a script", true, now));
    status.handle_probe_refused(A, probe);
    assert!(!status.is_up());
    let trouble = status.trouble().unwrap();
    assert_eq!(trouble, "Redis refuses messages: BUSY a script");
    let later = now + SETTLE * 10;
    assert!(!status.is_open(A, later));
    assert!(!status.wants_probe(A), "no hurry");
    // It is asked for without its subscriber, too.
    status.handle_synced(A, false, later);
    let probe = status.next_probe(A, later).unwrap();
    assert!(status.handle_probe_confirmed(A, probe, later));
    assert!(!status.is_open(A, later + SETTLE - Duration::from_nanos(1)));
    assert!(status.is_open(A, later + SETTLE));
    bring_up(&mut status, A, later);
    assert!(status.is_up());
}

#[test]
fn who_is_silent_is_waited_for() {
    for end in [End::Publisher, End::Subscriber] {
        let (mut status, now) = status(&[A]);
        bring_up(&mut status, A, now);
        status.open(A);
        status.handle_silent(A, end, true, now);
        let trouble = status.trouble().unwrap();
        assert_eq!(trouble, "Redis gives no sign of life");
        let later = now + SETTLE * 10;
        assert!(!status.is_open(A, later) && !status.is_up());
        status.handle_silent(A, end, false, later);
        bring_up(&mut status, A, later);
        assert!(status.is_up());
        status.open(A);
        assert!(status.is_open(A, later));
    }
}

#[test]
fn a_refusal_for_ever_is_told_and_holds_nothing_up() {
    let (mut status, now) = status(&[A]);
    bring_up(&mut status, A, now);
    status.open(A);
    assert!(status.handle_refused(A, "NOPERM no", false, now));
    assert!(!status.is_up());
    assert!(status.is_open(A, now + SETTLE));
    let probe = status.next_probe(A, now).unwrap();
    status.handle_probe_confirmed(A, probe, now);
    status.handle_probe_heard(A, probe, now);
    assert!(status.is_up());
}

#[test]
fn probes_do_not_run_out() {
    let (mut status, now) = status(&[A]);
    bring_up(&mut status, A, now);
    status.handle_refused(A, "BUSY a script", true, now);
    for _ in 0..MAX_PROBES * 2 {
        let probe = status.next_probe(A, now).unwrap();
        status.handle_refused(A, "BUSY a script", true, now);
        status.handle_probe_refused(A, probe);
    }
}

#[test]
fn who_may_not_write_is_up_all_the_same_and_says_so() {
    let (mut status, now) = status(&[A]);
    status.set_problem(Some(Problem::NotRegistered));
    bring_up(&mut status, A, now);
    assert!(status.set_unregistered(Some("MISCONF disk".to_owned())));
    let trouble = status.trouble().unwrap();
    assert_eq!(
        trouble,
        "this node has not written its heartbeat to Redis yet: MISCONF disk"
    );
    assert_eq!(status.concern(), None);
    status.set_problem(None);
    assert_eq!(status.trouble(), None);
    let concern = status.concern().unwrap();
    assert_eq!(concern, "Redis refuses the heartbeat: MISCONF disk");
    assert!(status.set_unregistered(None));
    assert_eq!(status.concern(), None);
}

fn status(lanes: &[LaneId]) -> (Status, Instant) {
    let mut status = Status::new(SETTLE, SILENCE);
    status.set_lanes(lanes);
    assert!(!status.is_up());
    status.set_problem(None);
    (status, Instant::now())
}

fn bring_up(status: &mut Status, lane: LaneId, now: Instant) {
    status.handle_publisher(lane, true, now);
    status.handle_synced(lane, true, now);
    let probe = status.next_probe(lane, now).unwrap();
    status.handle_probe_heard(lane, probe, now).unwrap();
}
