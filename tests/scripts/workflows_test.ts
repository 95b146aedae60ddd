/** Tests that the workflows of GitHub run the tasks of this repository, and hold no more rights than they need. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { parse } from "yaml";
import config from "../../deno.json" with { type: "json" };

const WORKFLOWS = new URL("../../.github/workflows/", import.meta.url);

/** A parsed workflow. It has no type, because the tests check its shape. */
type Workflow = ReturnType<typeof JSON.parse>;

const texts = await Promise.all(
  ["ci.yml", "release.yml", "nightly.yml"].map((name) => Deno.readTextFile(new URL(name, WORKFLOWS))),
);
const [ci, release, nightly]: Workflow[] = texts.map((text) => parse(text));

/** The commands of all steps of a workflow. */
function commandsOf({ jobs }: Workflow): string[] {
  return Object.values<Workflow>(jobs).flatMap(({ steps = [] }) => steps.flatMap(({ run = [] }) => run));
}

describe("the workflows", () => {
  it("pin every action of others by its commit, and name its full version", () => {
    for (const text of texts) {
      const uses = [...text.matchAll(/uses: (.*)/g)].map(([, action]) => action);
      for (const action of uses.filter((action) => !action.startsWith("./"))) {
        assert.match(action, /^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
      }
    }
  });

  it("have no rights except for those that a job lists", () => {
    for (const workflow of [ci, release, nightly]) {
      assert.deepEqual(workflow.permissions, {});
      for (const [name, job] of Object.entries<Workflow>(workflow.jobs)) assert.ok(job.permissions, name);
    }
    const writing = Object.entries<Workflow>(ci.jobs).filter(([, { permissions }]) =>
      Object.values(permissions).includes("write")
    );
    assert.deepEqual(writing, []);
  });

  it("use only tasks that exist", () => {
    const tasks = [ci, release, nightly].flatMap(commandsOf).flatMap((command) =>
      [...command.matchAll(/ task (\S+)/g)].map(([, task]) => task)
    );
    assert.ok(tasks.length > 0);
    for (const task of tasks) assert.ok(Object.hasOwn(config.tasks, task), task);
  });

  it("run the whole suite before anything is published", () => {
    assert.ok(commandsOf(ci).includes(".ci/run"));
    for (const name of ["image", "npm", "pypi"]) assert.ok(release.jobs[name].needs.includes("test"), name);
    assert.deepEqual(Object.keys(release.on), ["push"]);
    assert.deepEqual(Object.keys(release.on.push), ["tags"]);
  });

  it("publish without secrets of a registry", () => {
    for (const text of texts) assert.ok(!text.includes("secrets."), "a secret");
    for (const name of ["npm", "pypi", "image"]) {
      assert.equal(release.jobs[name].permissions["id-token"], "write");
    }
  });
});
