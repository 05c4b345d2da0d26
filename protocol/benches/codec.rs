//! What a packet costs on its way in and out.

#![expect(missing_docs, reason = "criterion_group! writes a public function")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use protocol::Encoded;
use protocol::engineio::payload;
use protocol::socketio::{Arguments, Decoder, json};

/// 200 bytes, as a chat sends them.
const EVENT: &str = r#"2/chat,17["message",{"room":"general","author":{"id":"u_8472","name":"Ann Müller"},"text":"Have you seen the \"new\" build? It looks fine to me.","sent":1767225600123,"tags":["work","ci"],"edited":false}]"#;
const ACK: &str = r#"3/chat,17[{"ok":true}]"#;
const ARGUMENTS: &str = r#"{"room":"general","author":{"id":"u_8472","name":"Ann Müller"},"text":"Have you seen the \"new\" build? It looks fine to me.","sent":1767225600123}"#;
const PLACEHOLDER: &str = r#"{"name":"a.png","data":{"_placeholder":true,"num":0}}"#;

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (name, text) in [("event", EVENT), ("ack", ACK)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            let mut decoder = Decoder::default();
            bencher.iter(|| {
                let decoded = decoder.decode_text(black_box(text));
                assert!(black_box(decoded).is_ok());
            });
        });
    }

    group.throughput(Throughput::Bytes(ARGUMENTS.len() as u64));
    group.bench_function("json alone", |bencher| {
        bencher.iter(|| assert!(json::is_value(black_box(ARGUMENTS))));
    });

    let header = format!("51-[\"upload\",{PLACEHOLDER}]");
    let data = [7; 1024];
    group.throughput(Throughput::Bytes((header.len() + data.len()) as u64));
    group.bench_function("event with 1 attachment", |bencher| {
        let mut decoder = Decoder::default();
        bencher.iter(|| {
            assert!(decoder.decode_text(black_box(&header)).is_ok());
            assert!(black_box(decoder.decode_binary(black_box(&data))).is_ok());
        });
    });
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.bench_function("event", |bencher| {
        let arguments = Arguments::from_raw(ARGUMENTS, &[]);
        bencher.iter(|| Encoded::event(black_box("/chat"), Some(17), "message", arguments));
    });

    let attachments = [Bytes::from(vec![7; 1024])];
    let arguments = Arguments::from_raw(PLACEHOLDER, &attachments);
    group.bench_function("event with 1 attachment", |bencher| {
        bencher.iter(|| Encoded::event(black_box("/"), None, "upload", arguments));
    });

    let ten: Vec<_> = (0..10)
        .map(|id| {
            Encoded::event(
                "/chat",
                Some(id),
                "message",
                Arguments::from_raw(ARGUMENTS, &[]),
            )
        })
        .collect();
    group.bench_function("payload of 10 packets", |bencher| {
        bencher.iter_batched_ref(
            || Vec::with_capacity(4096),
            |body| {
                for encoded in &ten {
                    if !body.is_empty() {
                        body.push(payload::SEPARATOR);
                    }
                    encoded.append_payload(body);
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn payloads(criterion: &mut Criterion) {
    let body = vec![format!("4{EVENT}"); 10].join("\u{1e}");
    let mut group = criterion.benchmark_group("payload");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("decode 10 packets", |bencher| {
        bencher.iter(|| {
            payload::decode(black_box(&body))
                .filter(Result::is_ok)
                .count()
        });
    });
    group.finish();
}

criterion_group!(benches, decode, encode, payloads);
criterion_main!(benches);
