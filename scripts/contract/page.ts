/** The page of the contract, `routes/README.md`, with its tables of tensors and errors. */

import { parameterTable } from "../../src/protocol/parameter_texts.ts";
import { problemTable } from "../../src/protocol/problem_codes.ts";
import {
  LAYER_ANSWER_TENSORS,
  LAYER_REQUEST_TENSORS,
  STATISTICS_TENSORS,
  tensorTable,
} from "../../src/protocol/resources/tensors.ts";
import {
  BLOCK_ANSWER_TENSORS,
  BLOCK_TENSORS,
  STATES_TENSORS,
} from "../../src/protocol/resources/block_tensors.ts";
import { renderTables } from "../markdown_tables.ts";

export const CONTRACT_PAGE = new URL("../../routes/README.md", import.meta.url);

/** The tables by the names that the page uses. */
const TABLES: Readonly<Record<string, () => string>> = {
  layer_request: () => tensorTable(LAYER_REQUEST_TENSORS),
  layer_answer: () => tensorTable(LAYER_ANSWER_TENSORS),
  parameters: parameterTable,
  statistics: () => tensorTable(STATISTICS_TENSORS),
  states: () => tensorTable(STATES_TENSORS),
  block_request: () => tensorTable(BLOCK_TENSORS),
  block_answer: () => tensorTable(BLOCK_ANSWER_TENSORS),
  problems: problemTable,
};

export async function renderContractPage(): Promise<string> {
  return await renderTables(CONTRACT_PAGE, (name) => {
    if (!Object.hasOwn(TABLES, name)) throw new Error(`${CONTRACT_PAGE.pathname}: there is no table ${name}`);
    return TABLES[name]();
  });
}
