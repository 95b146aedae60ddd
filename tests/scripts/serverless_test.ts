/**
 * Tests the templates for serverless platforms: that they agree with the image, with the variables of the host and with
 * each other, and that wrangler accepts its configuration with and without a solver.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { type Unstable_Config, unstable_readConfig } from "wrangler";
import { parse } from "yaml";
import { configOf, parseDockerfile } from "../support/dockerfile.ts";

const ROOT = new URL("../../", import.meta.url), DEPLOY = new URL("scripts/deploy/", ROOT);
const TEMPLATES = new URL("serverless/", DEPLOY);

const image = configOf(parseDockerfile(await Deno.readTextFile(new URL("Dockerfile", DEPLOY))).at(-1)!);
const service = parse(await Deno.readTextFile(new URL("cloud_run.yaml", TEMPLATES)));
const [container] = service.spec.template.spec.containers;
const modal = await Deno.readTextFile(new URL("modal_host.py", TEMPLATES));
const commandLine = await Deno.readTextFile(new URL("src/cli/README.md", ROOT));
const runpod = JSON.parse(await Deno.readTextFile(new URL("runpod.json", TEMPLATES))).variables.input;

/** The variables that each template sets, by template. */
const VARIABLES: Readonly<Record<string, readonly string[]>> = {
  "cloud_run.yaml": container.env.map(({ name }: { name: string }) => name),
  "modal_host.py": [...modal.matchAll(/^ {4}"(\w+)": |\b(PARE_KEYS|EDGE_HOST_SECRET)=/gm)].map(([, a, b]) =>
    a ?? b
  ),
  "runpod.json": runpod.template.env.map(({ key }: { key: string }) => key),
};

describe("the templates for serverless platforms", () => {
  const known = [...commandLine.matchAll(/^\| (`.*?`) +\| .*`serve`/gm)].flatMap(([, names]) =>
    [...names.matchAll(/`(\w+)`/g)].map(([, name]) => name)
  );
  for (const [template, names] of Object.entries(VARIABLES)) {
    it(`${template} sets keys and variables that the host reads, and refuses a platform without a GPU`, () => {
      for (const name of names) assert.ok(known.includes(name), name);
      assert.ok(names.includes("PARE_KEYS") && names.includes("PARE_REQUIRE_GPU"), String(names));
    });
  }

  it("allow one host per URL, because the edge asks the host that has a layer for its result", () => {
    const { metadata: { annotations } } = service.spec.template;
    assert.equal(annotations["autoscaling.knative.dev/maxScale"], "1");
    assert.match(modal, /^ {4}max_containers=1,$/m);
    assert.equal(runpod.workersMax, 1);
  });

  it("start the image with its own command and its own user", () => {
    assert.deepEqual([container.command, container.args, runpod.template.dockerArgs], [
      undefined,
      undefined,
      "",
    ]);
    const command = /^COMMAND = \[\n([^\]]*)\]/m.exec(modal)![1];
    const words = [...command.matchAll(/"([^"]*)"/g)].map(([, word]) => word);
    assert.deepEqual(words, [...image.entrypoint, ...image.cmd]);
    const [user, group] = image.user.split(":");
    assert.ok(modal.includes(`user=${user}, group=${group}, extra_groups=[]`));
  });
});

describe("wrangler.toml", () => {
  const SOLVER = { name: "SOLVER", class_name: "SolverObject" };

  const namesOf = ({ durable_objects: { bindings } }: Unstable_Config): string[] =>
    bindings.map(({ name }: { name: string }) => name);

  /** Reads the configuration as wrangler does. @throws {Error} if wrangler refuses it */
  async function readConfig(text: string) {
    const path = await Deno.makeTempFile({
      dir: new URL(".", ROOT).pathname,
      prefix: ".wrangler-",
      suffix: ".toml",
    });
    try {
      await Deno.writeTextFile(path, text);
      return unstable_readConfig({ config: path }, { hideWarnings: true });
    } finally {
      await Deno.remove(path);
    }
  }

  it("has no container, unless the lines at its end are no longer comments", async () => {
    const text = await Deno.readTextFile(new URL("wrangler.toml", ROOT)),
      start = text.indexOf("# [[containers]]");
    const without = await readConfig(text);
    assert.equal(without.containers?.length ?? 0, 0);
    assert.ok(!namesOf(without).includes(SOLVER.name));
    const solver = await readConfig(text.slice(0, start) + text.slice(start).replace(/^# ?/gm, ""));
    const [{ class_name, image_build_context, instance_type, max_instances, image }] = solver.containers!;
    assert.deepEqual([class_name, instance_type, max_instances], [SOLVER.class_name, "standard-4", 1]);
    await Deno.stat(new URL(image!, ROOT));
    assert.equal(await Deno.realPath(image_build_context!), await Deno.realPath(ROOT));
    assert.ok(namesOf(solver).includes(SOLVER.name));
    assert.deepEqual({ ...solver.migrations.at(-1) }, {
      tag: "solver",
      new_sqlite_classes: [SOLVER.class_name],
    });
    assert.deepEqual(solver.migrations.slice(0, -1), without.migrations);
  });
});
