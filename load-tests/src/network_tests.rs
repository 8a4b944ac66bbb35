#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

#[test]
fn loss_duplicates_and_reordering_come_as_often_as_they_should() {
    let profile = both(Direction {
        loss: 0.05,
        duplicate: 0.02,
        reorder: 0.03,
        delay: Delay::Constant(Duration::from_millis(10)),
        ..unlimited()
    });
    for seed in [1, 2, u64::MAX] {
        let (mut link, start) = (Link::new(&profile, seed), Instant::now());
        let (mut lost, mut twice, mut held_up) = (0, 0, 0);
        for n in 0..MANY {
            // So far apart that nobody waits for another.
            let now = start + Duration::from_secs(1) * n;
            match link.up(now, 100) {
                Carried::Not(Dropped::Lost) => lost += 1,
                Carried::Not(other) => panic!("{other:?} without a cause"),
                Carried::Once(first) => held_up += u32::from(first > now + Duration::from_millis(10)),
                Carried::Twice(first, _) => {
                    twice += 1;
                    held_up += u32::from(first > now + Duration::from_millis(10));
                }
            }
        }
        // Five standard deviations of a share of 1 in 20 among so many are 0.35 %.
        let near = |count: u32, share: f64| (f64::from(count) / f64::from(MANY) - share).abs() < 0.0035;
        assert!(near(lost, 0.05), "{lost} of {MANY} lost");
        assert!(near(twice, 0.95 * 0.02), "{twice} of {MANY} doubled");
        assert!(near(held_up, 0.95 * 0.03), "{held_up} of {MANY} held up");
    }
}

#[test]
fn delays_are_distributed_as_they_should_be() {
    let ms = Duration::from_millis;
    for (delay, first_percentile, median, last_percentile) in [
        (Delay::Constant(ms(100)), 100.0, 100.0, 100.0),
        (
            Delay::Uniform {
                from: ms(100),
                to: ms(300),
            },
            102.0,
            200.0,
            298.0,
        ),
        (
            Delay::Normal {
                mean: ms(300),
                deviation: ms(20),
            },
            300.0 - 2.326 * 20.0,
            300.0,
            300.0 + 2.326 * 20.0,
        ),
        (
            Delay::LogNormal {
                median: ms(400),
                sigma: 0.8,
            },
            400.0 * f64::exp(-2.326 * 0.8),
            400.0,
            400.0 * f64::exp(2.326 * 0.8),
        ),
    ] {
        let way = Direction {
            delay,
            loss: f64::MIN_POSITIVE,
            ..unlimited()
        };
        let mut drawn: Vec<f64> = (0..u64::from(MANY))
            .map(|n| way.fate(7, UP, n).delay.as_secs_f64() * 1e3)
            .collect();
        drawn.sort_by(f64::total_cmp);
        for (share, expected) in [(0.01, first_percentile), (0.5, median), (0.99, last_percentile)] {
            let found = drawn[(f64::from(MANY) * share) as usize];
            assert!(
                (found / expected - 1.0).abs() < 0.05,
                "{delay:?}: {share} below {found} ms, not {expected}"
            );
        }
    }
}

#[test]
fn no_delay_is_below_none_or_longer_than_a_datagram_lives() {
    let wild = |delay| Direction {
        delay,
        loss: f64::MIN_POSITIVE,
        ..unlimited()
    };
    let normal = wild(Delay::Normal {
        mean: Duration::from_millis(1),
        deviation: Duration::from_secs(1),
    });
    let tail = wild(Delay::LogNormal {
        median: Duration::from_secs(1),
        sigma: 50.0,
    });
    let drawn = |way: &Direction| (0..1000).map(|n| way.fate(1, UP, n).delay).collect::<Vec<_>>();
    assert_eq!(drawn(&normal).into_iter().min(), Some(Duration::ZERO));
    assert_eq!(drawn(&tail).into_iter().max(), Some(DELAY_MAX));
}

#[test]
fn one_seed_decides_the_same_whatever_the_time_and_whatever_the_other_way_carries() {
    let profile = Arc::new(Profile::named("wifi").unwrap());
    let decided = |seed, pause: Duration, answers: usize| {
        let (mut link, start) = (Link::new(&profile, seed), Instant::now());
        let decided = (0..5000_u32).map(|n| {
            let now = start + pause * n;
            for _ in 0..answers {
                let _ = link.down(now, 1000);
            }
            match link.up(now, 50) {
                Carried::Not(dropped) => format!("{dropped:?}"),
                Carried::Once(_) => "once".to_owned(),
                Carried::Twice(..) => "twice".to_owned(),
            }
        });
        decided.collect::<Vec<_>>()
    };
    let once = decided(1, Duration::from_secs(1), 0);
    assert_eq!(once, decided(1, Duration::from_millis(3), 2));
    assert_ne!(once, decided(2, Duration::from_secs(1), 0));
}

#[test]
fn the_two_ways_are_independent() {
    let way = Direction {
        loss: 0.5,
        ..unlimited()
    };
    let same = (0..u64::from(MANY))
        .filter(|n| way.fate(3, UP, *n).lost == way.fate(3, DOWN, *n).lost)
        .count();
    assert!(
        (same as f64 / f64::from(MANY) - 0.5).abs() < 0.01,
        "{same} of {MANY} the same"
    );
}

#[test]
fn a_share_that_is_changed_changes_no_other_decision() {
    let little = Profile::named("nb-iot").unwrap().up;
    let much = Direction {
        loss: 0.3,
        ..little.clone()
    };
    for n in 0..1000 {
        let (little, much) = (little.fate(9, UP, n), much.fate(9, UP, n));
        assert!(!little.lost || much.lost, "what is lost at 2 % is lost at 30 %");
        assert_eq!(
            Fate {
                lost: false,
                ..little
            },
            Fate { lost: false, ..much }
        );
    }
}

#[test]
fn order_is_kept_but_for_what_is_reordered() {
    let delay = Delay::LogNormal {
        median: Duration::from_millis(50),
        sigma: 1.5,
    };
    for (reorder, overtaken_at_least) in [(0.0, 0), (0.1, 50)] {
        let profile = both(Direction {
            delay,
            reorder,
            ..unlimited()
        });
        let (mut link, start) = (Link::new(&profile, 5), Instant::now());
        let arrivals: Vec<Instant> = (0..1000)
            .flat_map(|n| link.down(start + Duration::from_millis(n), 100))
            .collect();
        let overtaken = arrivals.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!(overtaken >= overtaken_at_least, "{overtaken} overtaken");
        assert!(reorder > 0.0 || overtaken == 0, "{overtaken} overtaken");
    }
}

#[test]
fn what_finds_the_queue_full_is_dropped_and_an_idle_link_takes_anything() {
    // 1000 bytes a second; a datagram of 72 takes 100 with its headers.
    let profile = both(Direction {
        bits_per_s: Some(8000),
        queue_bytes: 300,
        ..unlimited()
    });
    let (mut link, start) = (Link::new(&profile, 0), Instant::now());
    let at = |ms| start + Duration::from_millis(ms);
    assert_eq!(
        link.up(start, 972),
        Carried::Once(at(1000)),
        "longer than the queue"
    );
    assert_eq!(link.up(at(799), 72), Carried::Not(Dropped::QueueFull), "201 wait");
    assert_eq!(link.up(at(800), 72), Carried::Once(at(1100)));
    assert_eq!(
        link.down(at(800), 72),
        Carried::Once(at(900)),
        "the other way is free"
    );
    assert_eq!(link.up(at(5000), 72), Carried::Once(at(5100)), "idle since");
}

#[test]
fn an_outage_carries_nothing_and_ends() {
    let (mut link, start) = (Link::new(&Arc::new(Profile::perfect()), 0), Instant::now());
    let at = |s| start + Duration::from_secs(s);
    link.outage(at(10));
    link.outage(at(5));
    for now in [at(0), at(9)] {
        assert_eq!(link.up(now, 1), Carried::Not(Dropped::Outage));
        assert_eq!(link.down(now, 1).into_iter().count(), 0);
    }
    assert_eq!(link.up(at(10), 1), Carried::Once(at(10)));
    assert_eq!(link.down(at(10), 1).into_iter().collect::<Vec<_>>(), [at(10)]);
}

#[test]
fn every_name_is_a_network_of_its_own_with_shares_that_are_shares() {
    let mut seen = Vec::new();
    for name in Profile::NAMES {
        let profile = Profile::named(name).unwrap();
        for way in [&profile.up, &profile.down] {
            for share in [way.loss, way.duplicate, way.reorder] {
                assert!((0.0..0.1).contains(&share), "{name}: {share}");
            }
            // A handshake's longest flight and a block with what is around it have room.
            assert!(way.queue_bytes >= 6 << 10, "{name}");
        }
        assert!(!seen.contains(&profile), "{name} is as another");
        seen.push(profile);
    }
    assert_eq!(Profile::named("Wi-Fi"), None);
}

#[test]
fn a_million_links_fit() {
    assert!(size_of::<Link>() <= 128, "{} bytes", size_of::<Link>());
}

proptest! {
    #[test]
    fn no_window_of_time_sees_more_than_the_rate(
        seed: u64,
        rate in 1_000_u64..10_000_000,
        queue_bytes in 0_u32..100_000,
        duplicate in 0.0..0.5,
        datagrams in prop::collection::vec((0_u64..200_000_000, 0_usize..2000), 1..100),
    ) {
        let profile = both(Direction { duplicate, bits_per_s: Some(rate), queue_bytes, ..unlimited() });
        let (mut link, start) = (Link::new(&profile, seed), Instant::now());
        let (mut now, mut sent) = (start, Vec::new());
        for (pause, len) in datagrams {
            now += Duration::from_nanos(pause);
            sent.extend(link.up(now, len).into_iter().map(|arrival| (arrival, len + HEADERS)));
        }
        // Without a delay a datagram arrives when its last bit does: from one end to another, so many bits.
        for from in 0..sent.len() {
            let mut bits = 0;
            for to in from + 1..sent.len() {
                bits += sent[to].1 as u128 * 8;
                let window = (sent[to].0 - sent[from].0).as_nanos();
                prop_assert!(bits * NANOS <= window * u128::from(rate), "{bits} bits in {window} ns");
            }
        }
    }

    #[test]
    fn nothing_arrives_before_it_was_sent(
        seed: u64,
        name in prop::sample::select(&Profile::NAMES[..]),
        pauses in prop::collection::vec(0_u64..1000, 1..100),
    ) {
        let profile = Arc::new(Profile::named(name).unwrap());
        let (mut link, mut now) = (Link::new(&profile, seed), Instant::now());
        for pause in pauses {
            now += Duration::from_millis(pause);
            for arrival in link.up(now, 1200).into_iter().chain(link.down(now, 60)) {
                prop_assert!(arrival >= now);
            }
        }
    }
}

fn both(way: Direction) -> Arc<Profile> {
    Arc::new(Profile {
        up: way.clone(),
        down: way,
    })
}

fn unlimited() -> Direction {
    Profile::perfect().up
}

const MANY: u32 = 100_000;
