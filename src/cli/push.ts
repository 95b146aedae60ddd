/** `pare push FOLDER OWNER/NAME` uploads a pruned model to the Hugging Face hub in one commit. */

import { Command } from "commander";
import { CONFIG_FILE, openCheckpoint } from "../model/checkpoint/checkpoint.ts";
import { findWeightFiles } from "../model/checkpoint/weight_files.ts";
import { ModelError } from "../base/files/file_error.ts";
import { TEMPORARY_SUFFIX } from "../base/files/whole_file.ts";
import { isRepositoryName } from "../model/hub/reference.ts";
import { bytesText, countText } from "../prune/report/format.ts";
import { GGUF_FILE } from "../prune/run/gguf_output.ts";
import { PruneRun } from "../prune/run/prune_run.ts";
import { UsageError } from "./errors.ts";
import { denoFileSystem as fs } from "./files/deno_file_system.ts";
import { requireFolder } from "./files/input_file.ts";
import { hubOptions, isOffline, readHubVariables } from "./files/use_hub.ts";
import { addCommonOptions, type CommonOptions } from "./options/common_options.ts";
import { addExample } from "./options/help.ts";
import { Output, textTable } from "./terminal/output.ts";

/** The options as commander parses them. */
interface PushCommandOptions extends CommonOptions {
  readonly private?: boolean;
  readonly dryRun?: boolean;
}

interface PushedFile {
  readonly name: string;
  readonly bytes: number;
}

/** Matches the names of pickles, such as the `training_args.bin` of a training program. */
const PICKLE = /\.(bin|pt|pth|ckpt|pkl|pickle)$/;

/** Returns the command `pare push`. `signal` stops it. */
export function createPushCommand(signal: AbortSignal): Command {
  const command = new Command("push")
    .description("upload a pruned model to the Hugging Face hub in one commit, with the token in HF_TOKEN")
    .argument("<folder>", "a folder that pare prune or another command has written")
    .argument("<repository>", "OWNER/NAME, which is created if it does not exist")
    .option("--private", "create a private repository; an existing one must be private")
    .option("--dry-run", "list the files and their sizes, and send nothing");
  addExample(command, "push out/pruned you/model-pruned --private");
  return addCommonOptions(command).action((folder: string, repo: string, options: PushCommandOptions) =>
    push(folder, repo, options, signal)
  );
}

async function push(
  folder: string,
  repo: string,
  options: PushCommandOptions,
  signal: AbortSignal,
): Promise<void> {
  await requireFolder("folder", folder);
  if (!isRepositoryName(repo)) {
    throw new UsageError(`repository ${repo}: must have the form OWNER/NAME, as names on the hub have`);
  }
  const { files, pickles } = await filesOf(folder), bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const output = new Output(options.json ?? false);
  if (pickles.length > 0) {
    output.remark(`not pushed, because loading a pickle can run code: ${pickles.join(", ")}`);
  }
  const total = `${countText(files.length)} files with ${bytesText(bytes)}`;
  if (options.dryRun) {
    return output.result({ repo, files, bytes }, [
      textTable(["file", "bytes"], files.map(({ name, bytes }) => [name, countText(bytes)])),
      `would push ${total} to ${repo}; nothing was sent`,
    ]);
  }
  const variables = readHubVariables(), { HF_TOKEN: accessToken } = variables;
  if (isOffline(variables)) throw new UsageError("HF_HUB_OFFLINE is set, which forbids uploads");
  if (!accessToken) {
    throw new UsageError("HF_TOKEN is not set: it must be an access token of the hub that may write");
  }
  const progress = output.progress("pushing");
  try {
    const { pushFolder } = await import("../model/hub/push_folder.ts"); // only an upload needs the client of the hub
    const { oid, url } = await pushFolder({
      ...hubOptions(variables, output, signal),
      ...{ accessToken, repo, isPrivate: options.private },
      folder: await fs.realPath(folder),
      files: files.map(({ name }) => name),
      progress: (sent, work) => progress.step(Math.min(sent, bytes), bytes, work),
    });
    progress.stop();
    output.result({ repo, files, bytes, commit: oid, url }, [`pushed ${total} to ${repo}`, url]);
  } finally {
    progress.stop();
  }
}

/**
 * Lists the files of a complete checkpoint, or of a folder with a GGUF file. Files whose names begin with a dot are left out. Pickles without weights of
 * the checkpoint are left out too, and `pickles` has their names.
 * @throws {ModelError} if the folder has an unfinished run, or if a file of the checkpoint is missing
 */
async function filesOf(folder: string): Promise<{ files: PushedFile[]; pickles: string[] }> {
  const names = await fs.list(folder) ?? [];
  if (await PruneRun.exists(fs, folder)) {
    const partial = names.filter((name) => name.endsWith(TEMPORARY_SUFFIX));
    const missing = new Set(partial.map((name) => name.slice(0, -TEMPORARY_SUFFIX.length)));
    if (!names.includes(CONFIG_FILE)) missing.add(CONFIG_FILE);
    throw new ModelError(
      `${folder}: has an unfinished run, which has still to write ${
        [...missing].join(", ")
      }; repeat its command first`,
    );
  }
  const hasGguf = !findWeightFiles(names) && names.includes(GGUF_FILE);
  const checkpoint = hasGguf ? undefined : await openCheckpoint(folder, fs);
  await checkpoint?.close();
  const weights = checkpoint?.shards.map(({ name }) => name) ?? [];
  const visible = (checkpoint?.files ?? names).filter((name) =>
    !/(^|\/)\./.test(name) && !name.endsWith(TEMPORARY_SUFFIX)
  );
  const pickles = visible.filter((name) => PICKLE.test(name) && !weights.includes(name));
  const files = await Promise.all(
    visible.filter((name) => !pickles.includes(name)).map(async (name) => {
      const file = await fs.open(`${folder}/${name}`);
      await file.close();
      return { name, bytes: file.byteLength };
    }),
  );
  return { files, pickles };
}
