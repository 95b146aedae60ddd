/**
 * Times PyTorch on the same GPU, if this machine has a PyTorch that can use the GPU: the products of its library (cuBLAS on NVIDIA), and
 * the published SparseGPT algorithm on a layer of the size that Pare solves.
 */

import { fileURLToPath } from "node:url";
import { writeLayerFile } from "../bench/measure/layer_file.ts";
import { peerEnvironment } from "../bench/torch/peer_environment.ts";
import { findTorchBuilds } from "../bench/torch/torch_builds.ts";
import type { LeftOut } from "./left_out.ts";

/** The figures of PyTorch. */
export interface TorchTimes {
  /** The name of the GPU, as PyTorch gives it. */
  readonly device: string;
  /** The version of PyTorch. */
  readonly torch: string;
  /** The rate of a product of two square matrices in GFLOP/s, by the kind of arithmetic. */
  readonly gflops: Readonly<Record<string, number>>;
  /** The published algorithm on one layer, in seconds. */
  readonly layer: { readonly factor: number; readonly solve: number };
}

/** What `torch_products.py` prints. `gflops` is absent if PyTorch has no GPU. */
type Products = Pick<TorchTimes, "device" | "torch"> & Partial<Pick<TorchTimes, "gflops">>;

const PRODUCTS = fileURLToPath(new URL("torch_products.py", import.meta.url));
const REFERENCE = fileURLToPath(new URL("../bench/python/reference_layer.py", import.meta.url));

/** The solves of the layer. The first one also starts the library. */
const SOLVES = 2;

/**
 * @param product the order of the square matrices that are multiplied
 * @param layer the order of the layer
 * @throws {Error} if a program of PyTorch fails
 */
export async function timeTorch(product: number, layer: number): Promise<TorchTimes | LeftOut> {
  const builds = await findTorchBuilds();
  for (const { python } of builds) {
    const { gflops, device, torch } = await lastLine<Products>(python, [PRODUCTS, String(product)]);
    if (gflops) return { device, torch, gflops, layer: await timeReference(python, layer) };
  }
  if (builds.length === 0) return { reason: "no Python with torch and safetensors was found" };
  return { reason: `no GPU that ${builds.map(({ title }) => title).join(" or ")} can use` };
}

async function timeReference(python: string, order: number): Promise<TorchTimes["layer"]> {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    await writeLayerFile(path, order, order);
    const args = [REFERENCE, path, "--device", "cuda", "--repeat", String(SOLVES)];
    const { seconds: { factor, solve } } = await lastLine<{ readonly seconds: TorchTimes["layer"] }>(
      python,
      args,
    );
    return { factor, solve };
  } finally {
    await Deno.remove(path);
  }
}

/** Runs a Python program and parses the last line that it prints. */
async function lastLine<Line>(python: string, args: readonly string[]): Promise<Line> {
  const program = new Deno.Command(python, {
    args: ["-B", ...args],
    clearEnv: true,
    env: peerEnvironment({}),
    stdout: "piped",
    stderr: "piped",
  });
  const { success, stdout, stderr } = await program.output();
  if (!success) throw new Error(`${args[0]}: ${new TextDecoder().decode(stderr).trim().split("\n").at(-1)}`);
  return JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1)!);
}
