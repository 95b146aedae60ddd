/** Tests parseEdgeOptions(), which parses the environment variables that connect a host to an edge, the public server in front of hosts. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { parseEdgeOptions } from "../../src/host/edge_options.ts";

const SECRET = "a secret of thirty-two bytes: 123";

describe("parseEdgeOptions", () => {
  const settings = {
    secret: SECRET,
    blobOrigins: "https://a.example",
    edge: undefined,
    publicUrl: undefined,
    hostId: undefined,
  };

  it("parses the variables, and returns undefined without a secret", () => {
    assert.equal(parseEdgeOptions({ ...settings, secret: undefined }), undefined);
    assert.deepEqual(
      parseEdgeOptions({
        ...settings,
        blobOrigins: "https://a.example/, http://b:9",
        edge: "http://e",
        hostId: "solver",
      }),
      {
        secret: SECRET,
        url: "http://e",
        publicUrl: undefined,
        hostId: "solver",
        blobOrigins: ["https://a.example", "http://b:9"],
      },
    );
  });

  it("names the invalid variable in its error", () => {
    const cases: [Partial<Parameters<typeof parseEdgeOptions>[0]>, RegExp][] = [
      [{ secret: undefined, edge: "http://e" }, /EDGE_HOST_SECRET: must be set/],
      [{ secret: "short" }, /EDGE_HOST_SECRET: has 5 bytes, must have at least 32/],
      [{ edge: "ftp://e" }, /PARE_EDGE ftp:\/\/e: must be/],
      [{ publicUrl: "here" }, /PARE_PUBLIC_URL here: must be/],
      [{ hostId: "a b" }, /PARE_HOST_ID a b: must have/],
      [{ blobOrigins: "" }, /PARE_BLOB_ORIGINS: must name an origin/],
      [{ blobOrigins: "https://a.example/bucket" }, /PARE_BLOB_ORIGINS .*bucket: must be an origin/],
    ];
    for (const [changes, message] of cases) {
      assert.throws(() => parseEdgeOptions({ ...settings, ...changes }), { name: "RangeError", message });
    }
  });
});
