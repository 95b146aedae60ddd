/** Tests how the benches choose the build and the setting of PyTorch, and the environment in which it runs. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { chooseFastest, trialsTable } from "../../../scripts/bench/torch/choose_fastest.ts";
import { peerEnvironment } from "../../../scripts/bench/torch/peer_environment.ts";
import {
  candidateTitle,
  threadSettings,
  torchCandidates,
} from "../../../scripts/bench/torch/thread_settings.ts";
import {
  describeBuilds,
  describeTorch,
  parseDescription,
} from "../../../scripts/bench/torch/torch_builds.ts";
import { LineProcess } from "../../../scripts/processes/line_process.ts";

/** Environment variables of a machine that slows OpenBLAS down and sets threads of its own. */
const SLOWED = {
  PATH: "/usr/bin:/bin",
  OPENBLAS_CORETYPE: "Haswell",
  OPENBLAS_L2_SIZE: "512",
  OPENBLAS_NUM_THREADS: "1",
  MKL_NUM_THREADS: "1",
  OMP_WAIT_POLICY: "ACTIVE",
};

const DEBIAN = {
  torch: "2.6.0+debian",
  folder: "/usr/lib/python3/dist-packages/torch",
  blas: "OpenBLAS 0.3.29",
  kernel: "SkylakeX",
  config: "BLAS_INFO=generic",
};

describe("peerEnvironment", () => {
  it("keeps other variables, and removes those that override OpenBLAS's kernels or set threads", () =>
    assert.deepEqual(peerEnvironment({ OMP_NUM_THREADS: "2" }, SLOWED), {
      PATH: SLOWED.PATH,
      OMP_NUM_THREADS: "2",
    }));

  it("is the whole environment of a child process that is started with clearEnv", async () => {
    const env = peerEnvironment({ OMP_NUM_THREADS: "2" }, SLOWED);
    Deno.env.set("OPENBLAS_CORETYPE", Deno.env.get("OPENBLAS_CORETYPE") ?? "Haswell");
    const child = new LineProcess("sh", ["-c", 'echo "$OPENBLAS_CORETYPE,$OMP_NUM_THREADS"; read -r _'], {
      env,
      clearEnv: true,
    });
    try {
      assert.equal(await child.next(), ",2");
    } finally {
      await child.stop();
    }
  });
});

describe("threadSettings", () => {
  it("contains one pool, the other pool, both pools and a single thread", () => {
    const settings = threadSettings(4);
    const threads = settings.map(
      ({ variables: { OMP_NUM_THREADS, OPENBLAS_NUM_THREADS, MKL_NUM_THREADS } }) => {
        assert.equal(MKL_NUM_THREADS, OPENBLAS_NUM_THREADS);
        return `${OMP_NUM_THREADS} ${OPENBLAS_NUM_THREADS ?? "-"}`;
      },
    );
    for (const expected of ["4 -", "1 4", "4 4", "4 1", "1 1"]) {
      assert.ok(threads.includes(expected), expected);
    }
    assert.equal(new Set(settings.map(({ title }) => title)).size, settings.length, "titles differ");
  });

  it("contains one setting on a machine with one core", () => assert.equal(threadSettings(1).length, 1));
});

describe("describeTorch", () => {
  it("finds no build if there is no such program, or if the program has no torch", async () => {
    assert.equal(await describeTorch("/no/such/folder/python3"), undefined);
    assert.equal(await describeTorch("false"), undefined);
  });
});

describe("parseDescription", () => {
  it("names a build by its version and library, and reads OpenBLAS's kernel", () => {
    const { folder, build } = parseDescription("/usr/bin/python3", `\n${JSON.stringify(DEBIAN)}\n`);
    assert.equal(folder, DEBIAN.folder);
    assert.deepEqual([build.title, build.python, build.kernel], [
      "torch 2.6.0, OpenBLAS",
      "/usr/bin/python3",
      "SkylakeX",
    ]);
    assert.equal(
      describeBuilds([build]),
      "Builds of PyTorch: torch 2.6.0+debian with OpenBLAS 0.3.29 (kernels for SkylakeX).",
    );
  });

  it("reads the kernels of MKL from the line in which MKL describes itself", () => {
    const header =
      "MKL_VERBOSE oneMKL 2024.0 Update 2 Product build 20240605 for Intel(R) 64 architecture Intel(R) " +
      "Architecture processors, Lnx 2.60GHz lp64 gnu_thread\nMKL_VERBOSE SGEMM(N,N,64,64,64)";
    const output = `${header}\n${JSON.stringify({ ...DEBIAN, blas: "MKL 2024.2", kernel: null })}`;
    const { build } = parseDescription("python3", output);
    assert.deepEqual([build.title, build.kernel], ["torch 2.6.0, MKL", "Intel(R) Architecture processors"]);
  });
});

describe("chooseFastest", () => {
  const { build } = parseDescription("python3", JSON.stringify(DEBIAN));
  const candidates = torchCandidates([build], threadSettings(2));

  it("returns the candidate with the fewest seconds, and the trials of all in their order", async () => {
    const seconds = candidates.map((_, i) => i === 2 ? 0.5 : 1 + i);
    const { best, trials } = await chooseFastest(
      candidates,
      candidateTitle,
      (candidate) => Promise.resolve(seconds[candidates.indexOf(candidate)]),
    );
    assert.equal(best, candidates[2]);
    assert.deepEqual(
      trials,
      candidates.map((candidate, i) => ({
        title: candidateTitle(candidate),
        seconds: seconds[i],
      })),
    );
  });

  it("times the candidates one after the other", async () => {
    let running = 0;
    await chooseFastest([1, 2, 3], String, async (value) => {
      assert.equal(++running, 1);
      await Promise.resolve();
      running--;
      return value;
    });
  });

  it("never chooses a time that is NaN, and throws if no candidate has a time", async () => {
    const { best } = await chooseFastest([NaN, 3, 2], String, (value) => Promise.resolve(value), () => {});
    assert.equal(best, 2);
    await assert.rejects(
      chooseFastest([NaN], String, () => Promise.resolve(NaN)),
      /the fastest of 1 settings/,
    );
    await assert.rejects(chooseFastest([], String, () => Promise.resolve(1)), RangeError);
  });
});

it("trialsTable() has one row per setting and one column per case, and the fastest in bold type", () => {
  const table = trialsTable([
    { title: "small", trials: [{ title: "OMP 2", seconds: 0.25 }, { title: "OMP 1", seconds: 0.125 }] },
    { title: "large", trials: [{ title: "OMP 2", seconds: 12.345 }] },
  ]);
  assert.deepEqual(table.split("\n"), [
    "| setting | small, s | large, s |",
    "| --- | --: | --: |",
    "| OMP 2 | 0.250 | **12.3** |",
    "| OMP 1 | **0.125** | – |",
  ]);
});
