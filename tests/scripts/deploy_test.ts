/** Tests that the files of `scripts/deploy` agree with each other, and with the paths, variables, metrics and options of the host. */

import assert from "node:assert/strict";
import { after, before, it } from "@std/testing/bdd";
import { runPare } from "../cli/run_pare.ts";
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import { file, floats } from "../layer/bodies.ts";
import { describeChart, HOSTS_WITH_EDGE, type Manifest, renderChart } from "../support/chart.ts";
import { configOf, parseDockerfile } from "../support/dockerfile.ts";
import { startHost, type TestHost } from "../routes/host.ts";

const DEPLOY = new URL("../../scripts/deploy/", import.meta.url);

/** Prunes a small layer whose statistics the host stores, so that all metrics of the host have their labels. */
async function pruneWithStoredStatistics(host: TestHost): Promise<void> {
  const identity = Float32Array.from({ length: 16 }, (_, i) => i % 5 === 0 ? 1 : 0);
  const statistics = file({ hessian: floats("F32", [4, 4], identity) });
  const digest = formatDigest(await sha256(statistics));
  await (await host.send("PUT", `/v1/hessians/${digest}`, statistics)).body?.cancel();
  const weight = file({ weight: floats("F32", [4, 4], identity) });
  const response = await host.send("POST", `/v1/layers?hessian=${digest}`, weight);
  assert.equal(response.status, 200);
  await response.body?.cancel();
}

describeChart("the chart, for hosts with an edge", () => {
  let all: Manifest[], pod: Manifest, container: Manifest, host: TestHost;
  const ofKind = (kind: string): Manifest[] => all.filter((manifest) => manifest.kind === kind);

  before(async () => {
    all = await renderChart(HOSTS_WITH_EDGE);
    pod = ofKind("StatefulSet")[0].spec.template;
    [container] = pod.spec.containers;
    host = await startHost();
  });
  after(() => host.close());

  it("has unique names within each kind", () => {
    const names = all.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
    assert.equal(new Set(names).size, names.length);
    assert.ok(all.every(({ apiVersion }) => typeof apiVersion === "string"));
  });

  it("gives each pod one GPU, and probe paths that the host answers", async () => {
    assert.equal(container.resources.limits["nvidia.com/gpu"], "1");
    const { livenessProbe, readinessProbe, startupProbe } = container;
    assert.deepEqual([livenessProbe, readinessProbe, startupProbe].map(({ httpGet }) => httpGet.path), [
      "/healthz",
      "/readyz",
      "/readyz",
    ]);
    for (const { httpGet } of [livenessProbe, readinessProbe, startupProbe]) {
      assert.ok(container.ports.some(({ name }: Manifest) => name === httpGet.port));
      const response = await host.request(httpGet.path);
      await response.body?.cancel();
      assert.equal(response.status, 200);
    }
  });

  it("sets only variables that the host reads, and takes the secret ones from a secret", async () => {
    const read = await Deno.readTextFile(new URL("../../src/cli/serve.ts", import.meta.url));
    const mounts = container.volumeMounts.map(({ mountPath }: Manifest) => mountPath);
    for (const { name, value, valueFrom } of container.env) {
      if (name === "POD_NAME") continue;
      assert.match(read, new RegExp(`env(\\.get)?\\("${name}"\\)`));
      assert.equal(valueFrom?.secretKeyRef?.key, name === "EDGE_HOST_SECRET" ? name : undefined);
      if (name === "PARE_KEYS_FILE") {
        assert.ok(mounts.some((path: string) => value === `${path}/keys`), value);
      }
    }
    const named = container.env.map(({ name }: Manifest) => name);
    for (
      const name of [
        "PARE_KEYS_FILE",
        "EDGE_HOST_SECRET",
        "PARE_EDGE",
        "PARE_PUBLIC_URL",
        "PARE_BLOB_ORIGINS",
      ]
    ) {
      assert.ok(named.includes(name), name);
    }
    assert.ok(
      named.indexOf("POD_NAME") < named.indexOf("PARE_PUBLIC_URL"),
      "variables are expanded in order",
    );
  });

  it("has an address for each pod that the autoscaler may create", () => {
    const [autoscaler] = ofKind("HorizontalPodAutoscaler"), [set] = ofKind("StatefulSet");
    const { minReplicas, maxReplicas, scaleTargetRef } = autoscaler.spec;
    assert.deepEqual([scaleTargetRef.kind, scaleTargetRef.name], [set.kind, set.metadata.name]);
    assert.ok(minReplicas >= 1 && maxReplicas > minReplicas);
    assert.equal(
      set.spec.replicas,
      undefined,
      "a fixed number of replicas would undo the autoscaler at each apply",
    );
    const pods = Array.from({ length: maxReplicas }, (_, index) => `${set.metadata.name}-${index}`);
    const services = ofKind("Service"), [ingress] = ofKind("Ingress");
    for (const pod of pods) {
      const service = services.find(({ metadata }) => metadata.name === pod);
      assert.equal(service?.spec.selector["statefulset.kubernetes.io/pod-name"], pod);
    }
    const domain = container.env.find(({ name }: Manifest) => name === "PARE_PUBLIC_URL").value;
    assert.deepEqual(
      ingress.spec.rules.map((
        { host, http }: Manifest,
      ) => [`https://${host}`, http.paths[0].backend.service.name]),
      pods.map((pod) => [domain.replace("$(POD_NAME)", pod), pod]),
    );
    assert.ok(
      services.some(({ metadata, spec }) =>
        metadata.name === set.spec.serviceName && spec.clusterIP === "None"
      ),
    );
  });

  it("selects the right pods and ports", () => {
    const labels = Object.entries(pod.metadata.labels);
    const selectors = [
      ofKind("StatefulSet")[0].spec.selector.matchLabels,
      ofKind("PodDisruptionBudget")[0].spec.selector.matchLabels,
      ofKind("PodMonitor")[0].spec.selector.matchLabels,
      ofKind("Service").find(({ metadata }) => metadata.name === "pare-host")!.spec.selector,
    ];
    for (const selector of selectors) {
      for (const pair of Object.entries(selector)) {
        assert.ok(labels.some((label) => label[0] === pair[0] && label[1] === pair[1]));
      }
    }
    const [port] = container.ports;
    for (const { spec } of ofKind("Service")) assert.deepEqual(spec.ports[0].targetPort, port.name);
    assert.equal(container.args[container.args.indexOf("--port") + 1], String(port.containerPort));
  });

  it("names only metrics that the host serves, for scaling and for scraping", async () => {
    const text = await (await host.request("/metrics")).text();
    const [{ spec }] = ofKind("HorizontalPodAutoscaler"), [monitor] = ofKind("PodMonitor");
    for (const { pods } of spec.metrics) assert.match(text, new RegExp(`^${pods.metric.name} \\d`, "m"));
    assert.equal(monitor.spec.podMetricsEndpoints[0].path, "/metrics");
  });

  it("has a dashboard with all metrics of the host, and with no other metric or label", async () => {
    await pruneWithStoredStatistics(host);
    const text = await (await host.request("/metrics")).text();
    const types = new Map([...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map(([, name, type]) => [name, type]));
    const labels = new Set([...text.matchAll(/[{,](\w+)="/g)].map(([, label]) => label));
    // Prometheus adds these labels to the metrics of a pod.
    for (const label of ["namespace", "pod"]) labels.add(label);
    const dashboard = JSON.parse(ofKind("ConfigMap")[0].data["grafana_dashboard.json"]);
    const queries: string[] = dashboard.panels.flatMap(({ targets }: Manifest) =>
      targets.map(({ expr }: Manifest) => expr)
    );
    const used = new Set<string>();
    for (const query of queries) {
      for (const [, name, part] of query.matchAll(/\b(pare_\w+?)(_bucket|_sum|_count)?\b(?=\{)/g)) {
        used.add(name);
        assert.equal(types.get(name) === "histogram", part !== undefined, `${name} in ${query}`);
      }
      const grouped = [...query.matchAll(/by \(([^)]*)\)/g)].flatMap(([, list]) => list.split(", "));
      const selected = [...query.matchAll(/(\w+)(?:=~|!=|=)"/g)].map(([, label]) => label);
      for (const label of [...grouped, ...selected]) assert.ok(labels.has(label), `${label} in ${query}`);
    }
    assert.deepEqual([...used].toSorted(), [...types.keys()].toSorted());
  });

  it("starts the host only with options that it has, and so do the systemd unit and the image", async () => {
    const { stdout: help } = await runPare("serve", "--help");
    const unit = await Deno.readTextFile(new URL("systemd/pare@.service", DEPLOY));
    const image = await Deno.readTextFile(new URL("Dockerfile", DEPLOY));
    const { cmd } = configOf(parseDockerfile(image).at(-1)!);
    const start = /^ExecStart=\S+ (.*)$/m.exec(unit)![1].split(" ");
    for (const words of [start.slice(start.indexOf("serve")), container.args, cmd]) {
      assert.equal(words[0], "serve");
      for (const option of words.filter((word: string) => word.startsWith("--"))) {
        assert.ok(help.includes(`${option} `), option);
      }
    }
    const sections = [...unit.matchAll(/^\[(\w+)\]$/gm)].map(([, name]) => name);
    assert.deepEqual(sections, ["Unit", "Service", "Install"]);
    for (const line of unit.split("\n").filter((line) => line !== "")) {
      assert.match(line, /^(#.*|\[\w+\]|[A-Z]\w+=\S.*)$/);
    }
  });
});
