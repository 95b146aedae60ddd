/** Fuzzes the tickets with which edge and hosts authenticate their requests. Only the exact ticket of a request may pass. */

import { describe } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { NonceMemory, signTicket, verifyTicket } from "../../src/protocol/tickets.ts";
import { Refusal } from "../../src/protocol/refusal.ts";
import { damagedText } from "./arbitraries/damaged_bytes.ts";
import { fuzz, unlessRefused } from "./property.ts";

const SECRET = "a secret of thirty-two bytes: 123", NOW = 1_800_000_000_000;

const subject = { audience: "host", method: "POST", path: "/v1/tasks", body: new TextEncoder().encode("{}") };
const ticket = await signTicket(SECRET, subject, NOW);

describe("fuzzing tickets", () => {
  const change = fc.record({
    audience: fc.constantFrom("host", "edge", "hos", ""),
    method: fc.constantFrom("POST", "post", "DELETE"),
    path: fc.constantFrom("/v1/tasks", "/v1/tasks/", '/v1/tasks"]\n'),
    body: fc.constantFrom("{}", "{ }", "").map((text) => new TextEncoder().encode(text)),
  }, { requiredKeys: [] });
  const header = fc.oneof(fc.constant(ticket), damagedText(fc.constant(ticket)), fc.string());
  const clock = fc.constantFrom(0, 1, -29_000, 59_999, 61_000, -90_001, 2 ** 52);

  fuzz(
    "ticket",
    fc.tuple(header, fc.oneof(fc.constant({}), change), clock),
    async ([header, changes, skew]) => {
      const received = { ...subject, ...changes }, now = NOW + skew;
      const verified = await unlessRefused(
        () => verifyTicket(SECRET, header, received, now, new NonceMemory()).then(() => true),
        (error) => error instanceof Refusal && error.code === "unauthorized",
      );
      if (!verified) return "refused";
      // Whatever follows a second space is not part of the ticket.
      assert.equal(header.split(" ", 2).join(" "), ticket);
      assert.deepEqual(received, subject);
      assert.ok(skew <= 60_000 && skew >= -30_000);
      return "accepted";
    },
  );
});
