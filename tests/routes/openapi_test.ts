/** Tests the OpenAPI documents of host and edge: they are complete, they agree with the errors table, and their committed copies are not stale. */

import assert from "node:assert/strict";
import { before, describe, it } from "@std/testing/bdd";
import { generateDocuments } from "../../scripts/contract/documents.ts";
import { generateSources } from "../../scripts/contract/message_types.ts";
import { type Scope, SCOPES } from "../../src/protocol/keys.ts";
import { type ProblemCode, PROBLEMS } from "../../src/protocol/problem_codes.ts";
import { LAYER_ANSWER_TENSORS, LAYER_REQUEST_TENSORS } from "../../src/protocol/resources/tensors.ts";
import { documentedCodes } from "../support/documented_answers.ts";

/** A parsed document. It has no type, because the tests check its shape. */
type Document = ReturnType<typeof JSON.parse>;

/**
 * Codes that are not an answer of an operation in the documents: a method that no operation has, and the end of a task, which only edges can
 * start.
 */
const CODES_WITHOUT_OPERATION: ProblemCode[] = ["method_not_allowed", "blob_unavailable"];

describe("the OpenAPI documents", () => {
  let host: Document, edge: Document;
  before(async () => {
    [host, edge] = (await generateDocuments()).map(({ text }) => JSON.parse(text));
  });

  const operationsOf = ({ paths }: Document) =>
    Object.entries<Document>(paths).flatMap(([path, item]) =>
      Object.entries<Document>(item).map(([method, operation]) => ({ path, method, ...operation }))
    );

  it("are committed, and so are the types of the SDK; `deno task generate` writes the copies", async () => {
    for (const { url, text } of [...await generateDocuments(), ...await generateSources()]) {
      assert.equal(await Deno.readTextFile(url), text, `${url.pathname} is stale: run deno task generate`);
    }
  });

  it("describe the operations of a client, and no resource that only servers use", () => {
    const names = (document: Document) =>
      operationsOf(document).map(({ method, path }) => `${method} ${path}`).toSorted();
    const shared = [
      "delete /v1/hessians/{digest}",
      "get /healthz",
      "get /metrics",
      "get /openapi.json",
      "get /ping",
      "get /readyz",
      "get /v1/hessians/{digest}",
      "head /v1/hessians/{digest}",
      ...["collect", "measure", "prune", "run", "train"].map((kind) => `post /v1/blocks/${kind}`),
      "post /v1/layers",
      "post /v1/states/{name}/sums",
      "put /v1/hessians/{digest}",
      ...["delete", "get", "put"].map((method) => `${method} /v1/states/{name}`),
    ];
    const ofEdge = [
      "delete /v1/jobs/{id}",
      "delete /v1/uploads/{id}",
      "get /v1/blobs/{digest}",
      "get /v1/hosts",
      "get /v1/jobs",
      "get /v1/jobs/{id}",
      "get /v1/uploads/{id}",
      "head /v1/blobs/{digest}",
      "post /v1/jobs",
      "post /v1/uploads",
      "post /v1/uploads/{id}/complete",
    ];
    const ofHost = [
      "delete /v1/runs/{id}",
      ...["", "/events", "/files/{name}"].map((end) => `get /v1/runs/{id}${end}`),
      "post /v1/runs",
    ];
    assert.deepEqual(names(host), [...shared, ...ofHost].toSorted());
    assert.deepEqual(names(edge), [...shared, ...ofEdge].toSorted());
  });

  it("give every operation an id, a summary, a tag, its security and the header with the id of the request", () => {
    for (const document of [host, edge]) {
      const operations = operationsOf(document);
      const ids = operations.map(({ operationId }) => operationId);
      assert.equal(new Set(ids).size, operations.length);
      const tags = document.tags.map(({ name }: Document) => name);
      for (const { operationId, summary, tags: own, security, responses } of operations) {
        assert.ok(operationId && summary, operationId);
        assert.ok(own.length === 1 && tags.includes(own[0]), operationId);
        const isPublic = ["getHealth", "getReadiness", "getStart", "getContract"].includes(operationId);
        const [{ key: scopes = [] } = {}] = security;
        assert.deepEqual([security.length, scopes.length], isPublic ? [0, 0] : [1, 1], operationId);
        assert.ok(scopes.every((scope: Scope) => SCOPES.includes(scope)), operationId);
        for (const { headers } of Object.values<Document>(responses)) assert.ok(headers["X-Request-Id"]);
      }
      assert.deepEqual(document.info.license, { name: "MIT", identifier: "MIT" });
      assert.deepEqual(document.servers.map(({ url }: Document) => url), ["/"]);
    }
  });

  it("list each code of the errors table under its status, and no other code", () => {
    const documented = new Set<string>();
    for (const { operationId, responses } of [host, edge].flatMap(operationsOf)) {
      for (const [status, { description, content }] of Object.entries<Document>(responses)) {
        const codes = documentedCodes(description);
        const isProblem = content !== undefined && "application/problem+json" in content;
        assert.equal(codes.length > 0, isProblem, `${operationId} ${status}`);
        for (const code of codes) {
          documented.add(code);
          assert.equal(PROBLEMS[code as ProblemCode]?.status, Number(status), `${operationId} ${code}`);
        }
      }
    }
    const expected = Object.keys(PROBLEMS).filter((code) =>
      !CODES_WITHOUT_OPERATION.includes(code as ProblemCode)
    );
    assert.deepEqual([...documented].toSorted(), expected.toSorted());
  });

  it("describe the parameters and the tensors of a layer, and the report as a schema", () => {
    for (const { paths, components } of [host, edge]) {
      const { parameters, requestBody, responses } = paths["/v1/layers"].post;
      assert.deepEqual(parameters.map(({ name }: Document) => name), [
        "method",
        "sparsity",
        "pattern",
        "column_group",
        "blocksize",
        "damping",
        "token_weights",
        "bits",
        "group_size",
        "symmetric",
        "ranges",
        "scale_dtype",
        "scale_bits",
        "order",
        "refit",
        "effort",
        "target_step",
        "error",
        "dtype",
        "hessian",
      ]);
      for (const { name, description } of parameters) assert.ok(description, name);
      assert.deepEqual(Object.keys(requestBody.content), [
        "application/vnd.safetensors",
        "application/octet-stream",
      ]);
      for (const { name, shape } of LAYER_REQUEST_TENSORS) {
        assert.ok(requestBody.description.includes(`\`${name}\` | ${shape}`), name);
      }
      for (const { name, shape } of LAYER_ANSWER_TENSORS) {
        assert.ok(responses[200].description.includes(`\`${name}\` | ${shape}`), name);
      }
      const { schema } = responses[200].headers["Pare-Report"].content["application/json"];
      assert.equal(schema.$ref, "#/components/schemas/Report");
      assert.ok(components.schemas.Report.required.includes("relative_error"));
    }
    const { report } = edge.components.schemas.LayerState.properties;
    assert.deepEqual(report, { anyOf: [{ $ref: "#/components/schemas/Report" }, { type: "null" }] });
  });

  it("differ in nothing but the document's own text where both servers have an operation, except that an edge may refuse more", () => {
    for (const [path, item] of Object.entries<Document>(host.paths)) {
      for (const [method, operation] of Object.entries<Document>(item)) {
        if (edge.paths[path]?.[method] === undefined) continue;
        const { responses, ...rest } = operation, { responses: more, ...edgeRest } = edge.paths[path][method];
        assert.deepEqual(edgeRest, rest);
        for (const [status, { description }] of Object.entries<Document>(responses)) {
          const codes = documentedCodes(description);
          assert.deepEqual(
            codes.filter((code) => !documentedCodes(more[status].description).includes(code)),
            [],
          );
        }
      }
    }
  });
});
