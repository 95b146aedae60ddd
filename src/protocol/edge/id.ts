/** The format of the ids that servers send to each other, such as the ids of hosts and tasks. */

import { z } from "zod";

/** Accepts only ids that are safe in URLs, logs and headers. */
export const idSchema = z.string().regex(/^[A-Za-z0-9._-]{1,64}$/);
