/**
 * A host refuses hostile tasks with their documented problems. A task is a layer that an edge, the public server in front of hosts, gives to
 * a host. It comes with URLs from which the host reads and to which it writes.
 */

import { after, beforeEach, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { signTicket } from "../../src/protocol/tickets.ts";
import type { ProblemCode } from "../../src/protocol/problem_codes.ts";
import { assertProblem } from "../routes/assert_problem.ts";
import { HOST_ID, SECRET, startTaskHosts } from "../routes/task_hosts.ts";
import { withinBounds } from "./bounds.ts";
import { type BytePart, bytesOf } from "./bytes.ts";
import { type AttackCase, readCorpus } from "./corpus.ts";

/** A task of the corpus: the changes of a valid task, or the text of the whole body. `ORIGIN` stands for the origin of the blob store. */
interface TaskCase extends AttackCase {
  readonly changes?: object;
  readonly remove?: readonly string[];
  readonly text?: BytePart | readonly BytePart[];
  /** The header Authorization. `TICKET` stands for a valid ticket without its scheme. */
  readonly ticket?: string;
  /** What the ticket was signed for, where that is not the request. `age` is the age of the ticket in milliseconds. */
  readonly signed?: Readonly<
    Partial<Record<"audience" | "method" | "path" | "body" | "secret" | "age", string>>
  >;
  /** Whether the request is sent twice. The second answer counts. */
  readonly twice?: boolean;
  readonly code: ProblemCode;
}

const hosts = await startTaskHosts();
after(() => hosts.close());

describe("a host, given a hostile task,", () => {
  beforeEach(() => hosts.resetStore());

  async function makeBody({ changes, remove = [], text }: TaskCase): Promise<Uint8Array<ArrayBuffer>> {
    if (text !== undefined) return bytesOf(text);
    const task: Record<string, unknown> = await hosts.taskOf(changes as Record<string, unknown>);
    for (const member of remove) delete task[member];
    return new TextEncoder().encode(JSON.stringify(task).replaceAll("ORIGIN", hosts.store.origin));
  }

  async function send(attack: TaskCase): Promise<Response> {
    const { ticket, signed = {}, twice = false } = attack, body = await makeBody(attack);
    const { audience = HOST_ID, method = "POST", path = "/v1/tasks", secret = SECRET, age = "0" } = signed;
    const subject = {
      audience,
      method,
      path,
      body: signed.body === undefined ? body : new TextEncoder().encode(signed.body),
    };
    const valid = await signTicket(secret, subject, Date.now() - Number(age));
    const headers = new Headers({
      "Content-Type": "application/json",
      "Content-Length": String(body.length),
    });
    if (ticket !== "") headers.set("Authorization", ticket?.replace("TICKET", valid.split(" ")[1]) ?? valid);
    headers.set("Prefer", "wait=10");
    const request = () => hosts.host.request("/v1/tasks", { method: "POST", headers, body });
    if (twice) await (await request()).body?.cancel();
    return await request();
  }

  for (const attack of readCorpus<TaskCase>("tasks")) {
    it(`refuses ${attack.name}`, async () => {
      hosts.host.records.length = 0;
      await withinBounds(async () => {
        const response = await send(attack), text = await response.clone().text();
        const { code } = JSON.parse(text);
        assert.equal(code, attack.code, text);
        await assertProblem(response, attack.code);
        assert.ok(!text.includes(SECRET), "the secret is in the answer");
      });
      assert.ok(!JSON.stringify(hosts.host.records).includes(SECRET), "the secret is in the log");
      const results = hosts.store.requests.filter((line) => line.startsWith("PUT"));
      assert.equal(results.length, attack.twice ? 1 : 0, "no result may be written");
    });
  }

  it("runs the next good task", async () => {
    const response = await hosts.send(await hosts.taskOf());
    assert.equal(response.status, 200, await response.text());
  });
});
