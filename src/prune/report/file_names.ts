/** The names of the files in a pruned folder that describe the run. */

/** The name of the report file. */
export const RUN_REPORT_FILE = "pare.json";
/** The name of the page, which shows the report as charts. */
export const REPORT_PAGE_FILE = "report.html";
/** The name of the model card, which Hugging Face's hub shows. */
export const MODEL_CARD_FILE = "README.md";
/** All names. */
export const REPORT_FILES = [RUN_REPORT_FILE, REPORT_PAGE_FILE, MODEL_CARD_FILE];

/** The member `kind` of a `pare.json` that `pare shrink` has written. That of `pare prune` has no such member. */
export const SHRINK_KIND = "shrink";
