/** A host that lies about its results. */

import { createApp } from "../../../routes/app.ts";
import { Pare } from "../../../src/client/pare.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { createJobContext } from "../../../src/edge/jobs/job_context.ts";
import { runJob } from "../../../src/edge/jobs/run_job.ts";
import { formatDigest, sha256 } from "../../../src/protocol/digest.ts";
import { jobRequestSchema } from "../../../src/protocol/resources/jobs.ts";
import { startHostServices } from "../../../src/host/host_services.ts";
import { serverPruner } from "../../../src/prune/server_pruner.ts";
import { decode } from "../../../src/tensor/safetensors/decode.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import { memoryEdge } from "../../edge/memory_edge.ts";
import { REPORT } from "../../edge/simulate_job.ts";
import { equalBytes } from "../../../scripts/soak/comparable_answer.ts";
import { type FaultKind, require } from "../fault_kind.ts";
import { requireSameFiles } from "../same_files.ts";
import { LAYERS, TinyJob } from "../tiny_job.ts";

const SECRET = "a secret of thirty-two bytes: 123";
const encoder = new TextEncoder();

/** Lies about the layer itself, which a client notices. */
type LayerLie = "wrong shape" | "wrong dtype" | "no zeros" | "too few zeros";
const LAYER_LIES: readonly LayerLie[] = ["wrong shape", "wrong dtype", "no zeros", "too few zeros"];
/** Lies about the stored result, which an edge notices. */
type ResultLie = "wrong digest" | "digest of another blob" | "wrong size" | "nothing written";
const RESULT_LIES: readonly ResultLie[] = [
  "wrong digest",
  "digest of another blob",
  "wrong size",
  "nothing written",
];

/** A host that gives a wrong digest, size, shape, dtype or number of zeros, to an edge or to `pruneIntoFolder`. */
export const lyingHost: FaultKind = {
  name: "lying_host",
  fault: "host that lies about digest, size, shape, dtype or zeros of a result",
  survival: "The result is refused and never stored, and an honest host's bytes take its place.",
  processes: false,
  tries: { full: 72, test: 8 },
  async run(tries, tally) {
    for (let i = 0; i < tries >> 1; i++) {
      const lie = RESULT_LIES[i % RESULT_LIES.length];
      await tally.attempt(`${lie} ${i}`, async () => {
        tally.hit(lie);
        await edgeSurvives(lie, 1 + i % 3);
      });
    }
    await using job = await TinyJob.make();
    const services = await startHostServices(() => createCpuBackend()), app = createApp(services);
    const expected = `${job.folder}/expected`;
    await job.run(expected);
    for (let i = 0; i < tries - (tries >> 1); i++) {
      const lie = LAYER_LIES[i % LAYER_LIES.length],
        at = (2 * i) % LAYERS.length,
        out = `${job.folder}/lied-${i}`;
      await tally.attempt(`${lie} at layer ${at}`, async () => {
        tally.hit(lie);
        const reason = await job.run(out, { pruner: serverPruner(lyingPare(app, lie, at)) }).then(
          () => "",
          String,
        );
        require(
          /answer for a layer: (the tensor weight is|weight \[\d+,\d+\] is not 0)/.test(reason),
          `the run ended with ${reason || "0"}`,
        );
        await job.run(out);
        await requireSameFiles(out, expected);
      });
    }
    await services.device.close();
  },
};

/** Runs a job of one layer at an edge in memory, whose host lies `lies` times and then tells the truth. */
async function edgeSurvives(lie: ResultLie, lies: number): Promise<void> {
  const { env, bucket, records, send, upload } = await memoryEdge({ EDGE_HOST_SECRET: SECRET });
  const weight = (await upload(encoder.encode("the weight"))).body.blob;
  const truth = encoder.encode("the pruned layer"), digest = formatDigest(await sha256(truth));
  const unused = formatDigest(await sha256(encoder.encode("a blob that is not stored yet")));
  const context = createJobContext(env, "job");
  records.getByName("job");
  const record = records.names.get("job")!;
  await record.create("job", "digest", jobRequestSchema.parse({ layers: [{ name: "layer", weight }] }));
  const heartbeat = async () => {
    await context.hosts.recordHeartbeat("h", {
      url: "http://127.0.0.1:1",
      backend: "cpu",
      adapter: "a",
      capacity: 1,
      queue: { waiting: 0, resident: 0 },
      factors: [],
    });
  };
  await heartbeat();
  let calls = 0;
  const answer = async (_url: URL, { body }: RequestInit): Promise<Response> => {
    const { result } = JSON.parse(new TextDecoder().decode(body as Uint8Array<ArrayBuffer>));
    const isLie = calls++ < lies, key = new URL(result.url).pathname.replace(/^\/pare\//, "");
    if (!isLie || lie !== "nothing written") {
      await bucket.put(key, isLie ? encoder.encode("something else!!") : truth);
    }
    const claimed = !isLie ? digest : lie === "digest of another blob" ? unused : digest;
    const bytes = isLie && lie === "wrong size" ? 15 : 16;
    return Response.json({ state: "done", report: REPORT, result: { sha256: claimed, bytes } });
  };
  const step = {
    async do(_name: string, { retries }: { retries: { limit: number } }, run: () => Promise<void>) {
      for (let attempt = 0;; attempt++) {
        try {
          return await run();
        } catch (error) {
          if (attempt === retries.limit) throw error;
        }
      }
    },
  };
  const { error } = console;
  console.error = () => {}; // failed attempts are logged
  try {
    await runJob(step as never, {
      ...context,
      transport: { secret: SECRET, fetch: answer },
      sleep: heartbeat,
    });
  } finally {
    console.error = error;
  }
  const { state, layers: [layer] } = record.read()!.job;
  require(state === "done" && layer.result === digest, `the job is ${JSON.stringify(layer)}`);
  const stored = await send("GET", `/v1/blobs/${digest}`);
  require(
    stored.status === 200 && equalBytes(encoder.encode(stored.body), truth),
    "the result has other bytes",
  );
  require(
    (await send("HEAD", `/v1/blobs/${unused}`)).status === 404,
    "wrong bytes are stored under a digest",
  );
}

/** A client that never repeats a request, of a host that lies about the answer number `at`. */
function lyingPare(app: ReturnType<typeof createApp>, lie: LayerLie, at: number): Pare {
  let answers = 0;
  const fetch = async (request: Request) => {
    const isLayer = new URL(request.url).pathname === "/v1/layers";
    const response = await app.fetch(request);
    return isLayer && answers++ === at ? await lied(response, lie) : response;
  };
  return new Pare({ baseUrl: "http://127.0.0.1", fetch, retries: 0 });
}

async function lied(response: Response, lie: LayerLie): Promise<Response> {
  const { header, tensors } = decode(await response.bytes());
  const { dtype, shape, data } = tensors.get("weight")!, changed = data.slice();
  const weight = { dtype, shape, data: changed };
  if (lie === "wrong shape") weight.shape = [shape[0] * 2, shape[1] / 2];
  if (lie === "wrong dtype") weight.dtype = dtype === "F16" ? "BF16" : "F16";
  if (lie === "no zeros") changed.fill(0x3c);
  if (lie === "too few zeros") changed.fill(0x3c, 0, changed.byteLength >> 1);
  return new Response(encode({ ...Object.fromEntries(tensors), weight }, { ...header.metadata }));
}
