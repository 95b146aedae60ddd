/** Finds the build of PyTorch with which llm-compressor runs, and the reason why it cannot use each other build on this machine. */

import { fileURLToPath } from "node:url";
import { VENVS } from "../../peers/venv.ts";
import { peerEnvironment } from "../torch/peer_environment.ts";
import { describeTorch, findTorchBuilds, type TorchBuild } from "../torch/torch_builds.ts";

export interface UnusableBuild {
  /** The version of torch and its library, such as `torch 2.6.0+debian with OpenBLAS 0.3.29`. */
  readonly build: string;
  readonly reason: string;
}

/** The build of the environment of llm-compressor, and the builds that it cannot use. */
export interface PeerBuilds {
  readonly usable: TorchBuild;
  readonly unusable: readonly UnusableBuild[];
}

/** The JSON object that `check_torch.py` prints. */
export interface TorchRequirement {
  readonly peer: string;
  readonly requirement: string;
  readonly accepted: readonly string[];
}

const CHECK_TORCH = fileURLToPath(new URL("../python/check_torch.py", import.meta.url));

/** @throws {Error} if the environment of llm-compressor has no torch */
export async function findPeerBuilds(): Promise<PeerBuilds> {
  const { python, command } = VENVS["llm-compressor"];
  const own = await describeTorch(python);
  if (!own) throw new Error(`${python} cannot import torch and safetensors; \`${command}\` installs them`);
  const others = (await findTorchBuilds()).filter(({ config }) => config !== own.build.config);
  const requirement = await readRequirement(python, others.map(({ torch }) => torch));
  return { usable: own.build, unusable: others.map((build) => describeUnusable(build, requirement)) };
}

/** Says why llm-compressor cannot use a build that is outside its environment. */
export function describeUnusable(
  { torch, blas }: Pick<TorchBuild, "torch" | "blas">,
  { peer, requirement, accepted }: TorchRequirement,
): UnusableBuild {
  const reason = accepted.includes(torch)
    ? `${peer} is not installed beside it`
    : `${peer} requires ${requirement}`;
  return { build: `torch ${torch} with ${blas}`, reason };
}

async function readRequirement(python: string, versions: readonly string[]): Promise<TorchRequirement> {
  const { success, stdout, stderr } = await new Deno.Command(python, {
    args: ["-B", CHECK_TORCH, ...versions],
    clearEnv: true,
    env: peerEnvironment({}),
  }).output();
  if (!success) throw new Error(`${CHECK_TORCH}: ${new TextDecoder().decode(stderr).slice(-2000)}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}
