use proptest::prelude::{any, prop, proptest};

use super::{Covered, Expected, Proof, Receipts, Saved};
use protocol::{RecordDigest, State, StreamDescriptor};

fn named(name: &str) -> StreamDescriptor {
    StreamDescriptor::new(None, name)
}

fn receipts() -> Receipts {
    let names = vec![named("a"), named("b")];
    Receipts::new(names.clone(), vec![named("x_a"), named("x_b")])
}

fn digest(rows: &[&str]) -> RecordDigest {
    let mut digest = RecordDigest::default();
    rows.iter().for_each(|row| digest.add(row.as_bytes()));
    digest
}

fn expect(receipts: &mut Receipts, id: i64, index: usize, rows: &[&str], total: u64) {
    receipts.expect(Expected {
        id,
        scope: Some(index),
        sent: digest(rows),
        covers: vec![Covered { index, records: total, bytes: 0 }],
        saved: Saved::Stream { index, state: Some(format!("{{\"at\":{id}}}")) },
        source_digest: true,
    });
}

fn echo(id: i64, stream: &str, stats: &str) -> State {
    State::parse_payload(
        format!(r#"{{"type":"STREAM","id":{id},"stream":{{"stream_descriptor":{{"name":"{stream}"}},"stream_state":{{"from":"echo"}}}}{stats}}}"#)
            .as_bytes(),
    )
    .unwrap()
}

fn counted(n: u64) -> String {
    format!(r#","destinationStats":{{"recordCount":{n}.0}}"#)
}

#[test]
fn keeps_the_sources_own_text_of_the_newest_confirmed_state() {
    let mut receipts = receipts();
    expect(&mut receipts, 1, 0, &["1"], 1);
    expect(&mut receipts, 2, 1, &["2"], 1);
    expect(&mut receipts, 3, 0, &["3", "4"], 3);
    receipts.echoed(&echo(2, "x_b", &counted(1))).unwrap();
    receipts.echoed(&echo(1, "x_a", &counted(1))).unwrap();
    receipts.echoed(&echo(3, "x_a", &counted(2))).unwrap();
    let saved = receipts.take_unsaved();
    assert_eq!(saved[0], Saved::Stream { index: 0, state: Some("{\"at\":3}".into()) });
    assert_eq!(saved.len(), 2);
    assert_eq!((receipts.committed()[0].records, receipts.outstanding(0)), (3, 0));
    assert_eq!(receipts.committed()[0].proof, Some(Proof::Count));
}

#[test]
fn refuses_states_never_sent_twice_and_out_of_order() {
    let mut r = receipts();
    expect(&mut r, 1, 0, &[], 0);
    assert!(r.echoed(&echo(7, "x_a", "")).unwrap_err().message.contains("never sent"));

    let mut r = receipts();
    expect(&mut r, 1, 0, &[], 0);
    r.echoed(&echo(1, "x_a", "")).unwrap();
    assert!(r.echoed(&echo(1, "x_a", "")).unwrap_err().message.contains("twice"));

    let mut r = receipts();
    expect(&mut r, 1, 0, &[], 0);
    expect(&mut r, 2, 0, &[], 0);
    r.echoed(&echo(2, "x_a", "")).unwrap();
    assert!(r.echoed(&echo(1, "x_a", "")).unwrap_err().message.contains("out of order"));

    let mut r = receipts();
    expect(&mut r, 1, 0, &[], 0);
    assert!(r.echoed(&echo(1, "x_b", "")).unwrap_err().message.contains("another stream"));
    let mut r = receipts();
    assert!(r.echoed(&echo(1, "nobody", "")).unwrap_err().message.contains("nobody"));
}

#[test]
fn a_wrong_count_names_stream_and_both_numbers_and_ends_the_confirmations() {
    let mut r = receipts();
    expect(&mut r, 1, 0, &["1", "2"], 2);
    expect(&mut r, 2, 0, &[], 2);
    let text = r.echoed(&echo(1, "x_a", &counted(1))).unwrap_err().message;
    assert!(
        text.contains("stream a") && text.contains("sent 2 records") && text.contains("committed 1"),
        "{text}"
    );
    r.echoed(&echo(2, "x_a", &counted(0))).unwrap();
    assert!(r.take_unsaved().is_empty());
}

#[test]
fn compares_digests_and_counts_rejected_rows() {
    let with = |d: &RecordDigest| {
        format!(r#","destinationStats":{{"recordCount":{}.0,"recordDigest":"{}"}}"#, d.records(), d.hex())
    };
    let mut r = receipts();
    expect(&mut r, 1, 0, &["1", "2"], 2);
    assert!(r.echoed(&echo(1, "x_a", &with(&digest(&["1", "1"])))).unwrap_err().message.contains("digests"));
    let mut r = receipts();
    expect(&mut r, 1, 0, &["1", "2"], 2);
    r.echoed(&echo(1, "x_a", &with(&digest(&["2", "1"])))).unwrap();
    assert_eq!(r.committed()[0].proof, Some(Proof::Digest));
    let mut r = receipts();
    expect(&mut r, 1, 0, &["1", "2"], 2);
    r.echoed(&echo(1, "x_a", r#","destinationStats":{"recordCount":1.0,"rejectedRecordCount":1.0}"#))
        .unwrap();
    assert_eq!((r.committed()[0].rejected, r.committed()[0].proof), (1, Some(Proof::Count)));
}

#[test]
fn a_skipped_state_is_covered_by_the_next_one() {
    let mut r = receipts();
    expect(&mut r, 1, 0, &["1"], 1);
    expect(&mut r, 2, 0, &["2", "3"], 3);
    r.echoed(&echo(2, "x_a", &counted(3))).unwrap();
    assert_eq!(r.outstanding(0), 0);
}

#[test]
fn holds_a_bounded_amount_of_state_text() {
    let mut r = receipts();
    r.hold_at_most = 20;
    for id in 1..=100 {
        expect(&mut r, id, 0, &[], 0);
    }
    assert!(r.held <= 20);
    (1..=100).for_each(|id| r.echoed(&echo(id, "x_a", "")).unwrap());
    assert_eq!(r.take_unsaved(), [Saved::Stream { index: 0, state: Some(r#"{"from":"echo"}"#.into()) }]);
}

proptest! {
    /// An honest destination is believed; one fault anywhere is found, or a state stays open.
    #[test]
    fn one_fault_among_many_echoes_never_goes_unnoticed(
        batches in prop::collection::vec((any::<bool>(), 0_usize..4), 1..12),
        at in any::<prop::sample::Index>(), fault in 0_u8..6
    ) {
        let names = ["x_a", "x_b"];
        let mut totals = [0_u64; 2];
        let mut sent = Vec::new();
        for (n, (second, rows)) in batches.iter().enumerate() {
            let index = usize::from(*second);
            totals[index] += *rows as u64;
            let rows: Vec<String> = (0..*rows).map(|i| format!("{n}/{i}")).collect();
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            sent.push((n as i64 + 1, index, digest(&rows), totals[index]));
        }
        let begin = || {
            let mut r = receipts();
            for (id, index, digest, total) in &sent {
                r.expect(Expected {
                    id: *id, scope: Some(*index), sent: *digest,
                    covers: vec![Covered { index: *index, records: *total, bytes: 0 }],
                    saved: Saved::Nothing, source_digest: true,
                });
            }
            r
        };
        let line = |id: i64, index: usize, d: RecordDigest| echo(id, names[index],
            &format!(r#","destinationStats":{{"recordCount":{}.0,"recordDigest":"{}"}}"#, d.records(), d.hex()));
        let honest: Vec<_> = sent.iter().map(|(id, index, d, _)| (*id, *index, *d)).collect();
        let mut r = begin();
        for (id, index, d) in &honest {
            r.echoed(&line(*id, *index, *d)).unwrap();
        }
        assert_eq!([r.committed()[0].records, r.committed()[1].records], totals);

        let at = at.index(honest.len());
        let mut faulty = honest.clone();
        match fault {
            0 => { faulty.remove(at); }
            1 => faulty.insert(at, honest[at]),
            2 => faulty[at].2.add(b"doubled"),
            3 => faulty[at].0 += 1000,
            4 => faulty[at].1 ^= 1,
            _ => {
                // A row altered: the count agrees.
                let records = faulty[at].2.records();
                let mut other = RecordDigest::default();
                (0..records).for_each(|i| other.add(format!("altered {i}").as_bytes()));
                if records == 0 { other.add(b"made up"); }
                faulty[at].2 = other;
            }
        }
        let mut r = begin();
        let refused = faulty.iter().any(|(id, index, d)| r.echoed(&line(*id, *index, *d)).is_err());
        // A state without rows may be skipped: the next one vouches for it.
        let harmless = fault == 0 && honest[at].2.records() == 0;
        assert!(refused || harmless || r.outstanding(0) + r.outstanding(1) > 0);
    }
}
