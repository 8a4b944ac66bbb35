//! A device's requests against a real control, without transport.

use tempfile::TempDir;

use super::*;
use crate::clock;
use crate::coap::client::{Heard, Outgoing, Response};
use crate::coap::wire::number;
use crate::coap::{
    Block, BlockNum, ContentFormat, Endpoint, Kind, Message, MessageId, Method, ObserveRequest, Szx, Token,
};
use crate::control::{DevicePatch, NewDevice, Options, TimelineFilter};
use crate::fleet::{
    Actor, ArtifactRef, CohortId, CohortName, DeploymentName, DeploymentOrder, DeviceName, NewPackage,
    PackageName, ProjectId, TimelineKind, Version,
};
use crate::store::Store;
use crate::transport::{Desk, Overdue};

#[tokio::test]
async fn nothing_to_do_is_an_empty_map_and_never_an_error() {
    let mut bench = Bench::new().await;
    for cohort in [None, Some(bench.cohort("empty").await)] {
        bench.assign(cohort).await;
        for observe in [None, Some(ObserveRequest::Register)] {
            let cbor = bench.ask(Outgoing {
                observe,
                accept: Some(ContentFormat::CBOR),
                ..desired()
            });
            assert_eq!((cbor.code, &cbor.payload[..]), (Code::CONTENT, &[0xA0][..]));
            assert_eq!(
                (cbor.format, cbor.observed),
                (Some(ContentFormat::CBOR), observe.is_some())
            );
            let json = bench.ask(Outgoing {
                observe,
                accept: Some(ContentFormat::JSON),
                ..desired()
            });
            assert_eq!(
                (json.code, &json.payload[..], json.format),
                (Code::CONTENT, &b"{}"[..], Some(ContentFormat::JSON))
            );
        }
    }
}

#[tokio::test]
async fn accept_decides_on_the_form_then_content_format_then_json() {
    let mut bench = Bench::deployed(5000).await;
    let (cbor, json) = (Some(ContentFormat::CBOR), Some(ContentFormat::JSON));
    for (accept, content_format, expected) in [
        (cbor, None, cbor),
        (json, cbor, json),
        (None, cbor, cbor),
        (None, json, json),
        (None, None, json),
    ] {
        let answer = bench.ask(Outgoing {
            accept,
            content_format,
            ..desired()
        });
        assert_eq!(answer.format, expected, "{accept:?} {content_format:?}");
        let first = if expected == cbor { 0xA3 } else { b'{' };
        assert_eq!(
            (answer.code, answer.payload[0], answer.block2),
            (Code::CONTENT, first, None)
        );
    }
}

#[tokio::test]
async fn a_manifest_comes_in_blocks_where_it_is_asked_for_in_blocks() {
    let mut bench = Bench::deployed(5000).await;
    let whole = bench
        .ask(Outgoing {
            accept: Some(ContentFormat::CBOR),
            ..desired()
        })
        .payload;
    let asked = |num| Outgoing {
        accept: Some(ContentFormat::CBOR),
        block2: Some(block(num, 2)),
        ..desired()
    };
    let mut body = Vec::new();
    for num in 0.. {
        let answer = bench.ask(asked(num));
        body.extend_from_slice(&answer.payload);
        let given = answer.block2.unwrap();
        assert_eq!(
            (given.num.get(), given.szx, answer.size2),
            (num, Szx::new(2).unwrap(), Some(whole.len() as u32))
        );
        if !given.more {
            break;
        }
        assert_eq!(answer.payload.len(), 64);
    }
    assert_eq!(body, whole);
    assert_eq!(bench.ask(asked(100)).code, Code::BAD_REQUEST);
}

#[tokio::test]
async fn rule_19_an_observation_is_not_refused_for_want_of_room() {
    let mut bench = Bench::deployed(5000).await;
    let observed = |accept| Outgoing {
        observe: Some(ObserveRequest::Register),
        accept: Some(accept),
        ..desired()
    };
    let whole = bench.ask(observed(ContentFormat::CBOR)).payload;
    bench.room = 100;
    for (format, nothing) in [(ContentFormat::JSON, &b"{}"[..]), (ContentFormat::CBOR, &[0xA0])] {
        let answer = bench.ask(observed(format));
        assert_eq!(
            (answer.code, &answer.payload[..], answer.observed),
            (Code::CONTENT, nothing, true)
        );
        assert_eq!(bench.pushed(true), None, "and what would not fit is not pushed");
    }
    bench.room = usize::MAX;
    let past = bench.ask(Outgoing {
        block2: Some(block(9, 6)),
        ..observed(ContentFormat::CBOR)
    });
    assert_eq!((past.code, &past.payload[..]), (Code::CONTENT, &[0xA0][..]));
    assert_eq!(bench.pushed(false), Some(1), "it has yet to get it");

    bench.room = 100;
    let polled = |block2| Outgoing {
        accept: Some(ContentFormat::CBOR),
        block2,
        ..desired()
    };
    let mut answer = bench.ask(polled(None));
    let mut body = Vec::new();
    while let Some(given) = answer.block2 {
        assert_eq!(given.szx.size(), 64, "the largest that there is room for");
        body.extend_from_slice(&answer.payload);
        if !given.more {
            break;
        }
        answer = bench.ask(polled(Some(block(given.num.get() + 1, 2))));
    }
    assert_eq!(body, whole);
}

#[tokio::test]
async fn a_version_is_pushed_once_and_nothing_to_do_never() {
    let mut bench = Bench::new().await;
    let cohort = bench.cohort("lamps").await;
    bench.upload("1.0.0", &[1; 10]).await;
    bench.upload("1.0.1", &[2; 10]).await;
    bench.ask(Outgoing {
        observe: Some(ObserveRequest::Register),
        accept: Some(ContentFormat::CBOR),
        ..desired()
    });
    assert_eq!(bench.pushed(false), None, "no cohort");
    bench.assign(Some(cohort)).await;
    assert_eq!(bench.pushed(true), None, "no deployment, whatever is forced");
    bench.deploy(cohort, "1.0.0").await;
    assert_eq!(bench.pushed(false), Some(1));
    assert_eq!(bench.pushed(false), None, "it has that");
    assert_eq!(bench.pushed(true), Some(1), "it is to get it again");
    bench.deploy(cohort, "1.0.1").await;
    bench.deploy(cohort, "1.0.0").await;
    assert_eq!(bench.pushed(false), Some(3), "the latest wins");
    bench.assign(None).await;
    assert_eq!(bench.pushed(false), None, "removal from a cohort pushes nothing");
    let polled = bench.ask(Outgoing {
        accept: Some(ContentFormat::CBOR),
        ..desired()
    });
    assert_eq!(polled.payload, [0xA0], "but is learnt at the next fetch");
    assert_eq!(
        (bench.entry.manifest_sent(), bench.entry.manifest_acknowledged()),
        (3, 0)
    );
}

#[tokio::test]
async fn a_manifest_that_was_polled_was_sent_as_much_as_one_that_was_observed() {
    let mut bench = Bench::deployed(5000).await;
    assert_eq!(bench.entry.manifest_sent(), 0);
    bench.ask(desired());
    assert_eq!(
        (bench.entry.manifest_sent(), bench.entry.manifest_acknowledged()),
        (1, 1)
    );
    bench.assign(None).await;
    bench.ask(desired());
    assert_eq!(bench.entry.manifest_sent(), 1, "nothing to do is no manifest");
}

#[tokio::test]
async fn what_a_relation_knows_from_before_a_restart_was_sent() {
    let mut bench = Bench::deployed(5000).await;
    bench.ask(Outgoing {
        observe: Some(ObserveRequest::Register),
        ..desired()
    });
    let mut relation = *bench.endpoint.relations().next().unwrap();
    relation.sent = 7;
    bench.endpoint = Endpoint::restore([relation]);
    bench.assign(None).await;
    assert_eq!(bench.pushed(false), None);
    assert_eq!(bench.entry.manifest_sent(), 7);
    assert_eq!(
        bench.timeline(TimelineKind::ManifestSent).await,
        ["manifest 1 sent"],
        "nothing was sent after the restart"
    );
}

#[tokio::test]
async fn rfc7959_2_4_every_block_has_exactly_the_size_asked_for() {
    let bytes = pattern(5000);
    let mut bench = Bench::deployed(5000).await;
    for szx in 0..=6 {
        let size = 16 << szx;
        // Backwards: nothing is kept from one block to the next.
        for (num, expected) in bytes.chunks(size).enumerate().rev() {
            let answer = bench.ask(Outgoing {
                block2: Some(block(num as u32, szx)),
                ..artifact("main@1.0.0")
            });
            assert_eq!(
                (answer.code, answer.format),
                (Code::CONTENT, Some(ContentFormat::OCTET_STREAM))
            );
            assert!(answer.payload == expected, "block {num} of {size}");
            let more = (num + 1) * size < 5000;
            assert_eq!(
                answer.block2,
                Some(Block {
                    more,
                    ..block(num as u32, szx)
                })
            );
            assert_eq!((answer.size2, answer.etag_len), (Some(5000), 8));
        }
        let past = bytes.len().div_ceil(size) as u32;
        for num in [past, past + 1, BlockNum::MAX.get()] {
            let answer = bench.ask(Outgoing {
                block2: Some(block(num, szx)),
                ..artifact("main@1.0.0")
            });
            assert_eq!(
                (answer.code, answer.payload.len()),
                (Code::BAD_REQUEST, 0),
                "block {num} of {size}"
            );
        }
    }
    let (_, end) = bench.entry.transfer().unwrap();
    assert_eq!(end, 5000);
}

#[tokio::test]
async fn rfc8449_4_a_peer_with_less_room_than_it_asks_for_gets_the_largest_block_that_fits() {
    let bytes = pattern(5000);
    let mut bench = Bench::deployed(5000).await;
    // Room, and what fits: a head here has at most 33 bytes.
    for (room, szx) in [(600, 5), (512, 4), (100, 2), (64, 1)] {
        bench.room = room;
        let size = 16 << szx;
        for first in [None, Some(block(0, 6))] {
            let mut body = Vec::new();
            let mut asked = first;
            loop {
                let answer = bench.ask(Outgoing {
                    block2: asked,
                    ..artifact("main@1.0.0")
                });
                let given = answer.block2.unwrap();
                assert_eq!((answer.code, given.szx.size()), (Code::CONTENT, size));
                body.extend_from_slice(&answer.payload);
                if !given.more {
                    break;
                }
                asked = Some(block(given.num.get() + 1, szx));
            }
            assert!(body == bytes, "in blocks of {size}");
        }
        // Who does not take the hint is given what begins where he asks.
        let answer = bench.ask(Outgoing {
            block2: Some(block(3, 6)),
            ..artifact("main@1.0.0")
        });
        assert_eq!(
            answer.block2,
            Some(Block {
                more: true,
                ..block(3 << (6 - szx), szx)
            })
        );
        assert_eq!(answer.payload, bytes[3072..][..size as usize]);
    }
    bench.room = 1115;
    let whole = bench.ask(Outgoing {
        block2: Some(block(0, 6)),
        ..artifact("main@1.0.0")
    });
    assert_eq!(
        whole.payload.len(),
        1024,
        "whoever has the room gets what he asks for"
    );

    bench.room = 100;
    let manifest = bench.ask(Outgoing {
        accept: Some(ContentFormat::CBOR),
        block2: Some(block(0, 6)),
        ..desired()
    });
    assert_eq!(
        (
            manifest.code,
            manifest.payload.len(),
            manifest.block2.unwrap().szx.size()
        ),
        (Code::CONTENT, 64, 64)
    );
}

#[tokio::test]
async fn a_block_that_is_not_in_memory_holds_up_nobody_and_is_answered_when_it_is_there() {
    let mut bench = Bench::deployed(5000).await;
    let stall = bench.control.stall_readers();
    let mut out = Vec::new();
    let second = Outgoing {
        block2: Some(block(1, 6)),
        ..artifact("main@1.0.0")
    };
    assert_eq!(
        bench.send(Kind::Confirmable, second, &mut out),
        Disposition::Deferred {
            route: Route::Artifact,
            overdue: Overdue::Lost
        }
    );
    assert!(out.is_empty());
    assert_eq!(bench.entry.transfer(), None, "nothing was served");

    // On the same thread, which a read that waits would hold.
    let other = bench.ask(Outgoing {
        accept: Some(ContentFormat::CBOR),
        ..desired()
    });
    assert_eq!(other.code, Code::CONTENT);
    assert!(bench.desk.is_empty(), "the disk has not answered");

    let asked = bench.endpoint.pending().next().unwrap();
    drop(stall);
    let Bench { endpoint, desk, .. } = &mut bench;
    endpoint.complete_with(clock::now(), asked, MessageId(0), &mut out, |reply| {
        desk.answer(reply)
    });
    let answer = answer(&out);
    assert_eq!(answer.payload, pattern(5000)[1024..2048]);
    assert_eq!(
        (answer.code, answer.format, answer.size2, answer.etag_len),
        (Code::CONTENT, Some(ContentFormat::OCTET_STREAM), Some(5000), 8)
    );
    let more = Block {
        more: true,
        ..block(1, 6)
    };
    assert_eq!(answer.block2, Some(more));
    assert_eq!(bench.entry.transfer().unwrap().1, 2048);
}

#[tokio::test]
async fn a_block_that_there_is_no_room_to_wait_for_is_as_if_lost() {
    let mut bench = Bench::deployed(5000).await;
    let stall = bench.control.stall_readers();
    let mut out = Vec::new();
    while bench.send(Kind::Confirmable, artifact("main@1.0.0"), &mut out) != Disposition::NotNow {
        assert!(bench.mid.0 < 5000, "no bound");
    }
    assert!(out.is_empty());
    bench.send(Kind::NonConfirmable, artifact("main@1.0.0"), &mut out);
    assert_eq!(answer(&out).code, Code::SERVICE_UNAVAILABLE, "it comes once only");
    drop(stall);
}

#[tokio::test]
async fn a_device_has_no_more_than_eight_blocks_read_at_a_time() {
    let mut bench = Bench::deployed(5000).await;
    let mut out = Vec::new();
    bench.desk.waiting = 8;
    let put_off = bench.send(Kind::Confirmable, artifact("main@1.0.0"), &mut out);
    assert_eq!((put_off, out.len()), (Disposition::NotNow, 0));
    bench.desk.waiting = 7;
    assert_eq!(bench.ask(artifact("main@1.0.0")).code, Code::CONTENT);
}

#[tokio::test]
async fn bytes_that_are_gone_are_5_00() {
    let mut bench = Bench::deployed(5000).await;
    std::fs::remove_dir_all(bench.folder.path().join("data/blobs")).unwrap();
    let answer = bench.ask(artifact("main@1.0.0"));
    assert_eq!(
        (answer.code, answer.payload.len()),
        (Code::INTERNAL_SERVER_ERROR, 0)
    );
}

#[tokio::test]
async fn a_large_artifact_asked_for_without_a_block_begins_at_1024() {
    let mut bench = Bench::deployed(5000).await;
    let answer = bench.ask(artifact("main@1.0.0"));
    assert_eq!(
        (answer.payload.len(), answer.block2),
        (
            1024,
            Some(Block {
                more: true,
                ..block(0, 6)
            })
        )
    );
    bench.upload("small", &pattern(1024)).await;
    let answer = bench.ask(artifact("main@small"));
    assert_eq!((answer.payload.len(), answer.block2), (1024, None));
}

#[tokio::test]
async fn accept_is_not_looked_at_for_artifacts() {
    let mut bench = Bench::deployed(100).await;
    for accept in [
        None,
        Some(ContentFormat::JSON),
        Some(ContentFormat::CBOR),
        Some(ContentFormat(9999)),
    ] {
        assert_eq!(
            bench
                .ask(Outgoing {
                    accept,
                    ..artifact("main@1.0.0")
                })
                .code,
            Code::CONTENT
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_4_04_and_what_cannot_be_done_4_05() {
    let mut bench = Bench::deployed(100).await;
    for name in ["main@2.0.0", "other@1.0.0", "Main@1.0.0", "main@", "@1.0.0"] {
        assert_eq!(bench.ask(artifact(name)).code, Code::NOT_FOUND, "{name}");
    }
    let token = Token::EMPTY;
    let nowhere = Outgoing {
        path: &[".u", "desired", "suit"],
        ..Outgoing::new(Method::Get, token)
    };
    assert_eq!(bench.ask(nowhere).code, Code::NOT_FOUND);
    let wrong = Outgoing {
        path: &[".u", "desired"],
        ..Outgoing::new(Method::Delete, token)
    };
    assert_eq!(bench.ask(wrong).code, Code::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_services_that_are_not_offered_answer_as_the_contract_says() {
    let mut bench = Bench::new().await;
    type Case<'a> = (Method, &'a [&'a str], Code, &'a [u8]);
    let cases: &[Case<'_>] = &[
        (Method::Delete, &[], Code::DELETED, b""),
        (Method::Get, &["hello"], Code::CONTENT, b"Hello lamp-1"),
        (Method::Post, &["echo"], Code::CHANGED, b"body"),
        (Method::Post, &[".s"], Code::CHANGED, b""),
        (Method::Post, &[".s", "logs", "more"], Code::CHANGED, b""),
        (Method::Get, &[".d", "x"], Code::CONTENT, b"null"),
        (Method::Post, &[".d", "x"], Code::CHANGED, b""),
        (Method::Delete, &[".d", "x"], Code::DELETED, b""),
        (Method::Get, &[".c"], Code::CONTENT, &[0xA0]),
        (Method::Post, &[".c", "status"], Code::CHANGED, b""),
        (Method::Get, &[".rpc"], Code::CONTENT, &[0x62, 0x4F, 0x4B]),
        (Method::Post, &[".rpc", "status"], Code::CHANGED, b""),
        (Method::Post, &["v1", "csr"], Code::NOT_FOUND, b""),
    ];
    for (method, path, code, payload) in cases {
        let body: &[u8] = if *method == Method::Post { b"body" } else { b"" };
        let answer = bench.ask(Outgoing {
            path,
            payload: body,
            ..Outgoing::new(*method, Token::EMPTY)
        });
        assert_eq!(
            (answer.code, &answer.payload[..]),
            (*code, *payload),
            "{method:?} {path:?}"
        );
    }
}

#[tokio::test]
async fn a_log_line_is_answered_at_once_and_found_in_the_timeline() {
    let mut bench = Bench::new().await;
    for (method, path) in [
        (Method::Post, &[".s", "logs"][..]),
        (Method::Put, &[".s", "logs"]),
        (Method::Post, &["logs"]),
        (Method::Put, &["logs"]),
    ] {
        let line = format!("{method:?} {path:?}");
        let answer = bench.ask(Outgoing {
            path,
            content_format: Some(ContentFormat::JSON),
            payload: serde_json::json!({"level": "info", "msg": line})
                .to_string()
                .as_bytes(),
            ..Outgoing::new(method, Token::EMPTY)
        });
        assert_eq!(
            (answer.code, &answer.payload[..]),
            (Code::CHANGED, &b""[..]),
            "{line}"
        );
    }
    for (format, payload, code) in [
        (Some(ContentFormat::CBOR), &b"\xbf\x63msg"[..], Code::BAD_REQUEST),
        (
            Some(ContentFormat::TEXT),
            b"plain",
            Code::UNSUPPORTED_CONTENT_FORMAT,
        ),
        (None, &[b'x'; 2049], Code::REQUEST_ENTITY_TOO_LARGE),
    ] {
        let answer = bench.ask(Outgoing {
            path: &["logs"],
            content_format: format,
            payload,
            ..Outgoing::new(Method::Post, Token::EMPTY)
        });
        assert_eq!(answer.code, code, "{format:?}");
    }
    let read = Outgoing {
        path: &["logs"],
        ..Outgoing::new(Method::Get, Token::EMPTY)
    };
    assert_eq!(bench.ask(read).code, Code::METHOD_NOT_ALLOWED);
    let lines = bench.timeline(TimelineKind::Log).await;
    assert_eq!(
        lines,
        [
            "info: Put [\"logs\"]",
            "info: Post [\"logs\"]",
            "info: Put [\".s\", \"logs\"]",
            "info: Post [\".s\", \"logs\"]",
        ]
    );
}

#[tokio::test]
async fn sessions_that_outlive_the_gateway_are_no_entries() {
    let bench = Bench::new().await;
    let session = |serial, restored| SessionFacts {
        serial,
        shard: 0,
        peer: "192.0.2.1:40000".parse().unwrap(),
        suite: "none",
        connection_id: None,
        credential: 0,
        since_unix_ms: serial as i64,
        restored,
    };
    bench.api.connected(&bench.entry, &session(1, true));
    bench.api.disconnected(&bench.entry, 1, EndReason::Shutdown);
    bench.api.connected(&bench.entry, &session(2, false));
    bench.api.disconnected(&bench.entry, 2, EndReason::Idle);
    let mut entries = bench.timeline(TimelineKind::Disconnected).await;
    entries.extend(bench.timeline(TimelineKind::Connected).await);
    assert_eq!(
        entries,
        [
            "disconnected: nothing was heard of it for too long",
            "connected from 192.0.2.1:40000 without security",
        ]
    );
}

#[tokio::test]
async fn a_push_and_a_download_are_in_the_timeline_once() {
    let mut bench = Bench::deployed(100).await;
    let observing = Outgoing {
        observe: Some(ObserveRequest::Register),
        accept: Some(ContentFormat::CBOR),
        ..desired()
    };
    for _ in 0..2 {
        bench.ask(observing);
        bench.ask(artifact("main@1.0.0"));
    }
    assert_eq!(
        bench.timeline(TimelineKind::ManifestSent).await,
        ["manifest 1 sent"]
    );
    assert_eq!(
        bench.timeline(TimelineKind::ManifestAcknowledged).await,
        ["manifest 1 arrived"]
    );
    assert_eq!(
        bench.timeline(TimelineKind::DownloadBegun).await,
        ["began to fetch main@1.0.0"]
    );
    assert_eq!(
        bench.timeline(TimelineKind::DownloadFinished).await,
        ["fetched the last of the 100 bytes of main@1.0.0"]
    );
}

#[tokio::test]
async fn what_may_be_a_repetition_from_before_a_restart_takes_effect_once_the_device_has_shown_itself() {
    let mut bench = Bench::deployed(100).await;
    bench.desk.is_proven = false;
    let mut out = Vec::new();
    for state in 1..=3 {
        let taken = bench.report(state, &mut out);
        assert!(matches!(
            taken,
            Disposition::Deferred {
                overdue: Overdue::Taken,
                ..
            }
        ));
    }
    assert_eq!(bench.ask(desired()).code, Code::CONTENT);
    assert_eq!(bench.timeline(TimelineKind::Report).await, [""; 0]);
    assert_eq!(bench.timeline(TimelineKind::ManifestAcknowledged).await, [""; 0]);
    assert!(bench.desk.is_empty());

    bench.api.proven(&bench.entry, 1);
    let reports = bench.timeline(TimelineKind::Report).await;
    for _ in 1..=3 {
        let request = bench.endpoint.pending().next().unwrap();
        let desk = &mut bench.desk;
        let mut out = Vec::new();
        bench
            .endpoint
            .complete_with(clock::now(), request, MessageId(0), &mut out, |reply| {
                desk.answer(reply)
            });
        assert_eq!(answer(&out).code, Code::CHANGED);
    }
    assert_eq!(reports.len(), 3);
    assert!(
        reports[0].contains("updating") && reports[2].contains("downloading"),
        "{reports:?}"
    );
    assert_eq!(
        bench.timeline(TimelineKind::ManifestAcknowledged).await,
        ["manifest 1 arrived"]
    );
    bench.desk.is_proven = true;
    let taken = bench.report(0, &mut out);
    assert!(matches!(
        taken,
        Disposition::Deferred {
            overdue: Overdue::Unavailable,
            ..
        }
    ));
}

#[tokio::test]
async fn of_a_device_that_does_not_show_itself_eight_reports_are_kept_and_none_beyond_its_session() {
    let mut bench = Bench::new().await;
    bench.desk.is_proven = false;
    let mut out = Vec::new();
    for _ in 0..8 {
        assert!(matches!(bench.report(1, &mut out), Disposition::Deferred { .. }));
    }
    assert_eq!(bench.report(2, &mut out), Disposition::NotNow, "it comes again");
    bench.api.disconnected(&bench.entry, 1, EndReason::Replaced);
    bench.api.proven(&bench.entry, 1);
    assert_eq!(bench.timeline(TimelineKind::Report).await, [""; 0]);
    bench.report(2, &mut out);
    bench.api.doubted(&bench.entry, 1);
    bench.api.proven(&bench.entry, 1);
    assert_eq!(bench.timeline(TimelineKind::Report).await, [""; 0]);
    assert!(matches!(bench.report(2, &mut out), Disposition::Deferred { .. }));
}

/// A gateway's upper half with one device, `lamp-1`.
struct Bench {
    control: Control,
    api: DeviceApi,
    project: ProjectId,
    entry: Arc<DeviceEntry>,
    endpoint: Endpoint,
    mid: MessageId,
    /// The longest message that the device takes.
    room: usize,
    desk: Desk<Arc<DeviceEntry>>,
    folder: TempDir,
}

/// What the device got.
#[derive(Debug)]
struct Answer {
    code: Code,
    format: Option<ContentFormat>,
    block2: Option<Block>,
    size2: Option<u32>,
    etag_len: usize,
    observed: bool,
    payload: Vec<u8>,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("data")).await.unwrap();
        let control = Control::start(store, Options::default()).await.unwrap().control;
        let project = control.view().default_project().id;
        let package = NewPackage {
            name: PackageName::parse("main").unwrap(),
            description: String::new(),
            metadata: serde_json::Map::new(),
        };
        control.create_package(&me(), project, package).await.unwrap();
        let name = DeviceName::parse("lamp-1").unwrap();
        let device = NewDevice {
            name: name.clone(),
            cohort: None,
            tags: Vec::new(),
            enabled: true,
            credentials: Vec::new(),
        };
        control.create_device(&me(), project, device).await.unwrap();
        let entry = control.device_by_name(project, &name).await.unwrap().unwrap();
        let api = DeviceApi::new(control.clone());
        Self {
            control,
            api,
            project,
            entry,
            endpoint: Endpoint::new(),
            mid: MessageId(0),
            room: usize::MAX,
            desk: Desk::default(),
            folder,
        }
    }

    /// With an artifact of so many bytes deployed to it, as version 1.0.0.
    async fn deployed(bytes: usize) -> Self {
        let bench = Self::new().await;
        bench.upload("1.0.0", &pattern(bytes)).await;
        let cohort = bench.cohort("lamps").await;
        bench.assign(Some(cohort)).await;
        bench.deploy(cohort, "1.0.0").await;
        bench
    }

    async fn upload(&self, version: &str, bytes: &[u8]) {
        let mut upload = self.control.begin_upload(&me(), 1 << 20).await.unwrap();
        upload.write(bytes).await.unwrap();
        let (package, version) = (
            PackageName::parse("main").unwrap(),
            Version::parse(version).unwrap(),
        );
        self.control
            .add_artifact(&me(), self.project, package, version, upload, None)
            .await
            .unwrap();
    }

    async fn cohort(&self, name: &str) -> CohortId {
        let name = CohortName::parse(name).unwrap();
        self.control
            .create_cohort(&me(), self.project, name)
            .await
            .unwrap()
            .id
    }

    async fn assign(&self, cohort: Option<CohortId>) {
        let patch = DevicePatch {
            cohort: Some(cohort),
            ..DevicePatch::default()
        };
        self.control
            .update_device(&me(), self.project, self.entry.id(), patch)
            .await
            .unwrap();
    }

    async fn deploy(&self, cohort: CohortId, version: &str) {
        let count = self
            .control
            .view()
            .manifest(cohort)
            .map_or(0, |manifest| manifest.sequence.get());
        let artifact = ArtifactRef {
            package: PackageName::parse("main").unwrap(),
            version: Version::parse(version).unwrap(),
        };
        let order = DeploymentOrder {
            cohort,
            name: DeploymentName::parse(&format!("number {}", count + 1)).unwrap(),
            artifacts: vec![artifact],
            expected_active: None,
        };
        self.control
            .create_deployment(&me(), self.project, order)
            .await
            .unwrap();
    }

    /// The lines of these entries in the device's timeline, newest first, once everything so far is in it.
    async fn timeline(&self, kind: TimelineKind) -> Vec<String> {
        let filter = TimelineFilter {
            kinds: vec![kind],
            before: None,
            limit: 1000,
        };
        // The writer takes along what is queued.
        self.control
            .push(&me(), self.project, self.entry.id())
            .await
            .unwrap();
        let entries = self.control.timeline(self.entry.id(), &filter).await.unwrap();
        entries.iter().map(|entry| entry.event.to_string()).collect()
    }

    /// Sends a request to the handler, as the transport does, and waits for its answer.
    fn ask(&mut self, request: Outgoing<'_>) -> Answer {
        let mut out = Vec::new();
        let disposition = self.send(Kind::Confirmable, request, &mut out);
        if let Disposition::Deferred { .. } = disposition {
            let request = self.endpoint.pending().next().unwrap();
            let desk = &mut self.desk;
            self.endpoint
                .complete_with(clock::now(), request, MessageId(0), &mut out, |reply| {
                    desk.answer(reply)
                });
        }
        answer(&out)
    }

    /// Sends a request to the handler; what it answers at once is in `out`.
    fn send(&mut self, kind: Kind, request: Outgoing<'_>, out: &mut Vec<u8>) -> Disposition {
        self.mid = self.mid.next();
        let mut bytes = Vec::new();
        request.write(kind, self.mid, &mut bytes);
        let message = Message::parse(&bytes).unwrap();
        let request = Request::new(&message).unwrap();
        let mut reply = self
            .endpoint
            .reply(&request, MessageId(0), 0, out)
            .within(self.room);
        let context = self.desk.context(&self.entry);
        let disposition = self.api.request(&context, &request, &mut reply);
        let written = reply.finish();
        match disposition {
            Disposition::Observing {
                resource, version, ..
            } => {
                self.endpoint
                    .observing(&request, &written.unwrap(), resource, version);
            }
            Disposition::Deferred { .. } => self.endpoint.deferred(&request),
            Disposition::Answered { .. } => assert!(written.is_some()),
            Disposition::NotNow => assert!(written.is_none()),
        }
        disposition
    }

    /// Sends a state report about `main`.
    fn report(&mut self, state: u8, out: &mut Vec<u8>) -> Disposition {
        let payload = [0xA1, 0x61, b's', state];
        let report = Outgoing {
            path: &[".u", "c", "main"],
            content_format: Some(ContentFormat::CBOR),
            payload: &payload,
            ..Outgoing::new(Method::Post, Token::from(*b"reported"))
        };
        self.send(Kind::Confirmable, report, out)
    }

    /// What the transport would push, if anything: the version. It goes out, and nobody acknowledges it.
    fn pushed(&mut self, forced: bool) -> Option<u32> {
        let relation = *self.endpoint.relations().next().expect("the device observes");
        let mut out = Vec::new();
        let mut reply = self
            .endpoint
            .notification(&relation, MessageId(9), 0, &mut out)
            .within(self.room);
        let notification = self.api.notification(&self.entry, &relation, forced, &mut reply);
        let written = reply.finish();
        match notification {
            Notification::Unchanged => {
                assert_eq!(written, None);
                None
            }
            Notification::Written { version } => {
                let answer = answer(&out);
                assert_eq!(
                    (answer.code, answer.observed, answer.block2),
                    (Code::CONTENT, true, None)
                );
                assert_eq!(answer.payload[..2], [0xA3, 0x01]);
                let mut relation = relation;
                relation.sent = version;
                self.endpoint = Endpoint::restore([relation]);
                Some(version)
            }
        }
    }
}

fn answer(bytes: &[u8]) -> Answer {
    let Ok(Heard::Response(response)) = Heard::parse(bytes) else {
        panic!("{bytes:02x?} is no answer")
    };
    let Response {
        code,
        content_format,
        block2,
        size2,
        observe,
        payload,
        ..
    } = response;
    let message = Message::parse(bytes).unwrap();
    Answer {
        code,
        format: content_format,
        block2,
        size2,
        etag_len: message.option(number::ETAG).map_or(0, <[u8]>::len),
        observed: observe.is_some(),
        payload: payload.to_vec(),
    }
}

fn desired() -> Outgoing<'static> {
    Outgoing {
        path: &[".u", "desired"],
        ..Outgoing::new(Method::Get, Token::from(*b"observer"))
    }
}

fn artifact(name: &str) -> Outgoing<'_> {
    // Paths of three segments, for as long as the tests run.
    let path: &'static [&'static str] = Box::leak(Box::new([".u", "c", String::leak(name.to_owned())]));
    Outgoing {
        path,
        ..Outgoing::new(Method::Get, Token::from(*b"download"))
    }
}

fn block(num: u32, szx: u8) -> Block {
    Block {
        num: BlockNum::new(num).unwrap(),
        more: false,
        szx: Szx::new(szx).unwrap(),
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|byte| (byte.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn me() -> Actor {
    Actor::named("me")
}
