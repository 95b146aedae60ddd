/** Tests the check of the header `Host`: which names are accepted, and how the list of further names is written. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { isLoopbackName, parseHostNames, requireHostName } from "../../src/protocol/host_names.ts";

const LOOPBACK = [
  "localhost",
  "LOCALHOST:8000",
  "pare.localhost",
  "127.0.0.1",
  "127.8.9.1:80",
  "[::1]",
  "[::1]:8000",
];

describe("requireHostName", () => {
  it("always accepts the names of loopback", () => {
    for (const header of LOOPBACK) requireHostName(header, []);
  });

  it("accepts the names of the list, with any port and in any case", () => {
    for (const header of ["pare.example.com", "Pare.Example.com:8443"]) {
      requireHostName(header, ["pare.example.com"]);
    }
  });

  it("refuses every other name, so that a page cannot point its own name to this machine", () => {
    for (
      const header of [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "10.0.0.1",
        "pare.example",
      ]
    ) {
      assert.throws(() => requireHostName(header, ["pare.example.com"]), { code: "invalid_host" }, header);
    }
  });

  it("refuses texts that are neither names nor addresses, whatever the list", () => {
    for (
      const header of [
        "",
        "a/v1/layers",
        "localhost/x",
        "user@localhost",
        "localhost:x",
        "a, b",
        "a".repeat(9999) + "?",
      ]
    ) {
      for (const names of [undefined, []]) {
        assert.throws(() => requireHostName(header, names), (error: Error & { code?: string }) => {
          assert.equal(error.code, "invalid_host");
          assert.ok(error.message.length < 300);
          return true;
        }, header.slice(0, 20));
      }
    }
  });

  it("accepts every name if there is no list", () => {
    for (const header of ["evil.example", "10.0.0.1:80", ...LOOPBACK]) requireHostName(header, undefined);
  });
});

describe("parseHostNames", () => {
  it("reads names and addresses, in lowercase", () => {
    assert.deepEqual(parseHostNames(" Pare.example.com,10.0.0.7 , [fd00::7],"), [
      "pare.example.com",
      "10.0.0.7",
      "[fd00::7]",
    ]);
    assert.deepEqual(parseHostNames(""), []);
  });

  it("names the entry that has a port or a path", () => {
    for (const entry of ["a:80", "http://a", "a/b", "*"]) {
      assert.throws(() => parseHostNames(`ok,${entry}`), {
        name: "RangeError",
        message: /^PARE_HOSTS entry 2: /,
      });
    }
  });
});

describe("isLoopbackName", () => {
  it("is true for the addresses on which a host listens without keys", () => {
    for (const address of ["127.0.0.1", "::1", "localhost"]) assert.ok(isLoopbackName(address));
    for (const address of ["0.0.0.0", "::", "192.168.0.1", "128.0.0.1"]) assert.ok(!isLoopbackName(address));
  });
});
