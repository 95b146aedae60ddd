/**
 * Tests the help, the version, and wrong usage. Wrong usage must exit with 2 and print one line that names
 * the option, its value and the rule.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { optionFlag, RUN_OPTION_NAMES, runOption } from "../../src/protocol/run/run_options.ts";
import { VERSION } from "../../src/protocol/version.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { runPare, runPareWith } from "./run_pare.ts";

const PRUNE = ["prune", OPT_SOTU, "--out", "never-made", "--calibration", "text.txt"];
const LAYER = ["layer", "layer.safetensors", "--out", "never-made"];

/** Wrong command lines, each with the error that it must print. */
const WRONG: readonly (readonly [args: readonly string[], message: RegExp])[] = [
  [["train"], /unknown command 'train'/],
  [["eval", OPT_SOTU], /eval: needs at least one --text/],
  [["eval", "--text", "t"], /missing required argument 'model'/],
  [["eval", OPT_SOTU, "--text", "t", "--seqlen", "1"], /--seqlen.*'1'.*integer of 2 or more/],
  [["eval", OPT_SOTU, "--text", "t", "--windows", "1e3"], /--windows.*'1e3'.*integer of 1 or more/],
  [["eval", OPT_SOTU, "--text", "t", "--backend", "tpu"], /--backend.*'tpu'.*auto, webgpu, cpu/],
  [["eval", OPT_SOTU, "--text", "t", "--sparsity", "0.5"], /unknown option '--sparsity'/],
  [["serve", "--port", "65536"], /--port.*'65536'.*from 0 to 65535/],
  [["serve", "--queue", "-1"], /--queue.*'-1'.*integer of 0 or more/],
  [[...PRUNE, "--server", "here"], /--server.*'here'.*http or https URL/],
  [[...PRUNE, "--jobs"], /--jobs: needs exactly one --server, which must be an edge; got 0/],
  [[...PRUNE, "--samples", "0"], /--samples.*'0'.*integer of 1 or more/],
  [[...PRUNE, "--seed", "4294967296"], /--seed.*'4294967296'.*from 0 to 4294967295/],
  [
    [...PRUNE, "--sparsity", "1.5"],
    /--sparsity 1\.5: must be a fraction from 0 to below 1, where 50 % is 0\.5$/m,
  ],
  [[...PRUNE, "--sparsity", "half"], /--sparsity half: must be a fraction/],
  [[...PRUNE, "--pattern", "4:2"], /--pattern 4:2: .*1 ≤ n < m/],
  [[...LAYER, "--pattern", "2:4", "--sparsity", "0.3"], /--sparsity 0\.3: .*contradicts pattern 2:4/],
  [[...LAYER, "--pattern", "2:4", "--blocksize", "6"], /--blocksize 6: .*multiple of 4/],
  [[...LAYER, "--method", "prayer"], /--method prayer: .*sparsegpt/],
  [[...LAYER, "--damping", "-1"], /--damping -1: must be auto or a number from 0 to 1$/m],
  [[...LAYER, "--server", "localhost:8000"], /--server.*'localhost:8000'.*http or https URL/],
  [
    [...PRUNE, "--symmetric"],
    /^error: option --symmetric: describes a quantisation grid, so it needs bits$/m,
  ],
  [
    [...PRUNE, "--group-size", "64"],
    /option --group-size 64: 64 describes a quantisation grid, so it needs bits/,
  ],
  [
    [...LAYER, "--bits", "4", "--scale-bits", "6"],
    /option --scale-bits 6: 6 needs a --group-size that divides 256, and --group-size is 0$/m,
  ],
  [["eval", OPT_SOTU, "--text", "absent"], /option --text absent: there is no such file/],
  [["verify"], /missing required argument 'folder'/],
];

describe("pare usage", () => {
  for (const [args, message] of WRONG) {
    it(`refuses "${args.map((arg) => arg === OPT_SOTU ? "MODEL" : arg).join(" ")}"`, async () => {
      const { code, stdout, stderr } = await runPare(...args);
      assert.equal(code, 2, stderr);
      assert.equal(stdout, "");
      assert.match(stderr, /^error: [^\n]+\n$/);
      assert.match(stderr, message);
    });
  }

  const unusable:
    readonly (readonly [env: Readonly<Record<string, string>>, args: readonly string[], message: RegExp])[] =
      [
        [{}, ["serve", "--port", "abc"], /--port.*'abc'.*integer from 0 to 65535/],
        [{}, ["serve", "--port="], /--port.*''.*integer from 0 to 65535/],
        [{ PORT: "" }, ["serve"], /'' from env 'PORT'.*integer from 0 to 65535/],
        [{ PORT: "abc" }, ["serve"], /'abc' from env 'PORT'.*integer from 0 to 65535/],
        [{}, ["serve", "--host", "a b"], /--host.*'a b'.*name or an address/],
        [{}, ["serve", "--host="], /--host.*''.*name or an address/],
      ];
  for (const [env, args, message] of unusable) {
    it(`refuses "${args.join(" ")}" with ${JSON.stringify(env)}`, async () => {
      const { code, stderr } = await runPareWith(env, ...args);
      assert.equal(code, 2, stderr);
      assert.match(stderr, /^error: [^\n]+\n$/);
      assert.match(stderr, message);
    });
  }

  it("prints the help if no command is given", async () => {
    const { code, stderr } = await runPare();
    assert.equal(code, 2);
    assert.match(stderr, /^Usage: pare /);
  });
});

/** All commands, each with its required options. */
const COMMANDS: Readonly<Record<string, readonly string[]>> = {
  "quantize": [],
  "prune": ["--out <folder>"],
  "verify": [],
  "eval": [],
  "sweep": ["--text <text>"],
  "layer": ["--out <file>"],
  "unpack": ["--out <folder>"],
  "export": ["--format <format>", "--out <path>"],
  "push": [],
  "report": [],
  "jobs list": ["--server <url>"],
  "jobs show": ["--server <url>"],
  "jobs cancel": ["--server <url>"],
  "serve": [],
};

describe("pare --help", () => {
  for (const [command, required] of Object.entries(COMMANDS)) {
    it(`marks the required options of ${command}, and has an example`, async () => {
      const { code, stdout, stderr } = await runPare(...command.split(" "), "--help");
      assert.deepEqual([code, stderr], [0, ""]);
      const [usage] = stdout.split("\n\n");
      assert.ok(usage.startsWith(`Usage: pare ${command} `), usage);
      assert.ok(usage.endsWith("[options]"));
      const marked = [...stdout.matchAll(/^ {2}(--\S+ <\S+>) +required: /gm)].map(([, flags]) => flags);
      assert.deepEqual(marked, required);
      for (const flags of required) assert.ok(usage.includes(flags), usage);
      assert.match(stdout, new RegExp(`\\nExamples?:\n  pare ${command} ?`));
      const all = stdout.includes("--help-all")
        ? (await runPare(...command.split(" "), "--help-all")).stdout
        : stdout;
      assert.ok(all.includes("--json") && !all.includes("default: []"), all);
    });
  }

  it("shows the default of --token-weights that the command has, and options in place of parameters", async () => {
    const optionText = async (command: string, option: string) => {
      const { stdout } = await runPare(command, command === "prune" ? "--help-all" : "--help");
      return stdout.split(`  --${option} `)[1].split("\n  --")[0].replace(/\s+/g, " ");
    };
    assert.match(await optionText("prune", "token-weights"), /\(default: "unit"\)$/);
    assert.match(await optionText("layer", "token-weights"), /default: none\)$/);
    assert.match(await optionText("prune", "target-step"), /^<value> .*--target dense/);
    assert.doesNotMatch(await optionText("prune", "target-step"), /tensor/);
    assert.match(await optionText("layer", "sparsity"), /Defaults to 0 with --bits, else to 0\.5/);
  });

  for (const command of ["quantize", "prune"]) {
    it(`shows at most fifteen options of ${command} in groups, and all of them with --help-all`, async () => {
      const help = async (flag: string) => {
        const { code, stdout, stderr } = await runPare(command, flag);
        assert.deepEqual([code, stderr], [0, ""]);
        return {
          options: [...stdout.matchAll(/^ {2}(?:-\w, )?--([\w-]+)/gm)].map(([, name]) => name),
          groups: [...stdout.matchAll(/^(\w.*):$/gm)].map(([, title]) => title),
        };
      };
      const short = await help("--help"), all = await help("--help-all"), groups = ["Result", "Texts", "Run"];
      assert.ok(short.options.length <= 15, short.options.join(" "));
      assert.deepEqual(short.groups, ["Arguments", ...groups, "Help", "Examples"]);
      assert.deepEqual(all.groups, ["Arguments", ...groups, "Advanced options", "Help", "Examples"]);
      assert.deepEqual(short.options.filter((name) => !all.options.includes(name)), []);
      for (const name of RUN_OPTION_NAMES) {
        const flag = optionFlag(name).slice(2), { advanced = false } = runOption(name);
        assert.deepEqual([all.options.includes(flag), short.options.includes(flag)], [true, !advanced], name);
      }
    });
  }

  it("lists the commands", async () => {
    const { code, stdout } = await runPare("--help");
    assert.equal(code, 0);
    for (const command of Object.keys(COMMANDS)) {
      assert.match(stdout, new RegExp(`^  ${command.split(" ")[0]} `, "m"));
    }
  });

  it("is complemented by a page with an example of each command", async () => {
    const page = await Deno.readTextFile(new URL("../../src/cli/README.md", import.meta.url));
    for (const command of Object.keys(COMMANDS)) {
      assert.match(page, new RegExp(`pare ${command}\\s`), command);
    }
  });
});

describe("pare --version", () => {
  it("prints only the version", async () => {
    assert.deepEqual(await runPare("--version"), { code: 0, stdout: `${VERSION}\n`, stderr: "" });
  });
});
