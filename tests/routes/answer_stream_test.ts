/** Tests answerStream(), which sends an answer at the client's pace and ends it if a client that is too slow keeps others waiting. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { answerStream } from "../../routes/answer_stream.ts";

const LIMITS = { leastBytesPerSecond: 500, answerWindowMilliseconds: 40, answerPatienceMilliseconds: 400 };

/** An answer of `count` chunks of 100,000 bytes. It records what happens to it, and has a clock that a test moves. */
function start(count: number) {
  const state = { now: 0, isPlaceWanted: false, released: 0, errors: [] as unknown[] };
  async function* chunks() {
    for (let index = 0; index < count; index++) {
      yield await Promise.resolve(new Uint8Array(100_000).fill(index));
    }
  }
  const stream = answerStream(
    {
      chunks: chunks(),
      isPlaceWanted: () => state.isPlaceWanted,
      release: () => void state.released++,
      onError: (error) => void state.errors.push(error),
    },
    LIMITS,
    () => state.now,
  );
  return { state, stream };
}

/** Lets the stream fill its queue, and check its client several times. */
const checks = () => new Promise((resolve) => setTimeout(resolve, 20));

describe("answerStream", () => {
  it("sends all bytes in pieces, in order, and frees the memory once", async () => {
    const { state, stream } = start(3), pieces: Uint8Array<ArrayBuffer>[] = [];
    for await (const piece of stream) {
      assert.ok(piece.byteLength <= 2 ** 16);
      pieces.push(piece);
    }
    const whole = await new Blob(pieces).bytes();
    assert.deepEqual([whole.length, whole[0], whole[150_000], whole[299_999]], [300_000, 0, 1, 2]);
    assert.deepEqual([state.released, state.errors], [1, []]);
  });

  it("waits for a slow client while no other request waits", async () => {
    const { state, stream } = start(1), reader = stream.getReader();
    await reader.read();
    await checks();
    state.now += 399;
    await checks();
    let bytes = 2 ** 16;
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      bytes += next.value.byteLength;
    }
    assert.deepEqual([bytes, state.released], [100_000, 1]);
  });

  it("ends the answer of a slow client while another request waits", async () => {
    const { state, stream } = start(50), reader = stream.getReader();
    await reader.read();
    await checks();
    state.now += 39;
    state.isPlaceWanted = true;
    await checks();
    assert.equal(state.released, 0);
    state.now += 1;
    await checks();
    await assert.rejects(reader.closed, /fewer than 500 bytes per second/);
    assert.deepEqual([state.released, state.errors], [1, []]);
  });

  it("sends to a client that takes enough, even if another request waits", async () => {
    const { state, stream } = start(5), reader = stream.getReader();
    state.isPlaceWanted = true;
    let bytes = 0;
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      bytes += next.value.byteLength;
      state.now += 30;
      await checks();
    }
    assert.deepEqual([bytes, state.released], [500_000, 1]);
  });

  it("ends every answer that stands still for the whole patience", async () => {
    const { state, stream } = start(50), reader = stream.getReader();
    await reader.read();
    await checks();
    state.now += 400;
    await checks();
    await assert.rejects(reader.closed, /fewer than 500 bytes per second/);
    assert.equal(state.released, 1);
  });
});
