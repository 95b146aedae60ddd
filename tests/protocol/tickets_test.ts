/** Tests tickets. A ticket is a signed token that authorises one request between two servers, the edge and a host. */

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { describe, it } from "@std/testing/bdd";
import {
  NonceMemory,
  signTicket,
  TICKET_MILLISECONDS,
  type TicketSubject,
  verifyTicket,
} from "../../src/protocol/tickets.ts";
import { Refusal } from "../../src/protocol/refusal.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const NOW = 1_800_000_000_000;
const subject: TicketSubject = {
  audience: "host-1",
  method: "POST",
  path: "/v1/tasks",
  body: new TextEncoder().encode('{"id":"a"}'),
};

const verify = (
  ticket: string | undefined,
  changes: Partial<TicketSubject> = {},
  now = NOW,
  nonces = new NonceMemory(),
) => verifyTicket(SECRET, ticket, { ...subject, ...changes }, now, nonces);

describe("a ticket", () => {
  it("is valid for its own request, and contains the documented HMAC", async () => {
    const ticket = await signTicket(SECRET, subject, NOW);
    await verify(ticket);
    const [expires, nonce, mac] = ticket.slice("Pare-Ticket ".length).split(".");
    const digest = createHash("sha256").update(subject.body).digest("hex");
    const text = ["pare-ticket-1", '["host-1","POST","/v1/tasks"]', digest, expires, nonce].join("\n");
    assert.equal(mac, createHmac("sha256", SECRET).update(text).digest("hex"));
  });

  it("is not valid for another receiver, method, path or body", async () => {
    const changes: Partial<TicketSubject>[] = [
      { audience: "host-2" },
      { method: "DELETE" },
      { path: "/v1/tasks/a" },
      { body: new TextEncoder().encode('{"id":"b"}') },
      { body: new Uint8Array(0) },
    ];
    for (const change of changes) {
      await assert.rejects(verify(await signTicket(SECRET, subject, NOW), change), Refusal);
    }
  });

  it("is valid until it expires, but not if its expiry is too far in the future", async () => {
    const ticket = await signTicket(SECRET, subject, NOW);
    await verify(ticket, {}, NOW + TICKET_MILLISECONDS);
    await assert.rejects(verify(ticket, {}, NOW + TICKET_MILLISECONDS + 1), /expired 1 ms ago/);
    await assert.rejects(verify(ticket, {}, NOW - 60_000), /too far ahead/);
  });

  it("is refused if one of its bytes is changed", async () => {
    const ticket = await signTicket(SECRET, subject, NOW);
    for (const at of ["Pare-Ticket 1".length, ticket.indexOf(".") + 1, ticket.length - 1]) {
      const other = ticket[at] === "0" ? "1" : "0";
      await assert.rejects(verify(ticket.slice(0, at) + other + ticket.slice(at + 1)), Refusal);
    }
    for (const text of [undefined, "", "Bearer key", "Pare-Ticket", "Pare-Ticket 1.2.3", ticket + "0"]) {
      await assert.rejects(verify(text), /send Authorization/);
    }
    await assert.rejects(
      verifyTicket(SECRET.toUpperCase(), ticket, subject, NOW, new NonceMemory()),
      /not signed for this request/,
    );
  });

  it("can be used only once", async () => {
    const nonces = new NonceMemory(), ticket = await signTicket(SECRET, subject, NOW);
    await verify(ticket, {}, NOW, nonces);
    await assert.rejects(verify(ticket, {}, NOW, nonces), /has been used/);
    await verify(await signTicket(SECRET, subject, NOW), {}, NOW, nonces);
  });

  it("requires a secret of at least 32 bytes", async () => {
    await assert.rejects(signTicket("short", subject, NOW), RangeError);
  });
});

describe("the memory of nonces", () => {
  it("forgets expired nonces, and accepts no new nonce while it is full of valid ones", () => {
    const nonces = new NonceMemory(2);
    assert.ok(nonces.rememberNonce("a", 10, 0));
    assert.ok(nonces.rememberNonce("b", 20, 0));
    assert.equal(nonces.rememberNonce("c", 30, 5), false);
    assert.ok(nonces.rememberNonce("c", 30, 15));
    assert.equal(nonces.rememberNonce("b", 20, 15), false);
  });
});
