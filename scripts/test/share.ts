/**
 * Runs the test files that PARE_TEST_FILES names. They run in one process, so the modules that they share are loaded only once. Loading
 * takes most of the time of a short test file.
 */
for (const file of Deno.env.get("PARE_TEST_FILES")!.split(" ")) {
  await import(new URL(`../../${file}`, import.meta.url).href);
}
