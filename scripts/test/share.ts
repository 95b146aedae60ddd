/**
 * Runs the files of tests that PARE_TEST_FILES names. One module that imports them all loads what they share once, which
 * saves most of the time that short files take.
 */
for (const file of Deno.env.get("PARE_TEST_FILES")!.split(" ")) {
  await import(new URL(`../../${file}`, import.meta.url).href);
}
