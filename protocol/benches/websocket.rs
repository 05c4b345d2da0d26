//! What a WebSocket client's bytes cost before they are a message.

#![expect(missing_docs, reason = "criterion_group! writes a public function")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use protocol::websocket::frame::{OpCode, apply_mask, push_masked_frame};
use protocol::websocket::reader::Reader;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A heartbeat, an event of a few words, one of a chat, a document, a file.
const SIZES: [usize; 5] = [1, 30, 200, 4096, 65536];

fn mask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for size in SIZES {
        let mut bytes = vec![b'x'; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(size.to_string(), |bencher| {
            bencher.iter(|| apply_mask(black_box(&mut bytes), black_box(MASK)));
        });
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    for size in SIZES {
        let mut stream = Vec::new();
        push_masked_frame(&mut stream, OpCode::Text, &vec![b'x'; size], MASK);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("text of {size}"), |bencher| {
            let mut reader = Reader::new();
            bencher.iter_batched_ref(
                || stream.clone(),
                |stream| {
                    let mut input = black_box(&mut stream[..]);
                    assert!(matches!(reader.next(&mut input, 1 << 20), Ok(Some(_))));
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, mask, read);
criterion_main!(benches);
