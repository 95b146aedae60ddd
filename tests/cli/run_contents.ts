/** Reads the output folder of a run, to compare it with that of another run of the same command. */

/** Reads every file of a folder. Removes from the reports what may differ between runs, such as times. */
export function contents(path: string): Record<string, unknown> {
  const files = [...Deno.readDirSync(path)].map(({ name }) => name).sort();
  return Object.fromEntries(files.map((name) => {
    if (name === "report.html") return [name, undefined]; // it is drawn from pare.json, with the times
    if (name !== "pare.json") return [name, Deno.readFileSync(`${path}/${name}`)];
    const { finished: _f, seconds: _s, resumed: _r, ...report } = JSON.parse(
      Deno.readTextFileSync(`${path}/${name}`),
    );
    const layers = report.layers.map((
      { seconds: _, calibration_seconds: _c, factor_reused: __, ...layer }: Record<string, unknown>,
    ) => layer);
    return [name, { ...report, layers }];
  }));
}
