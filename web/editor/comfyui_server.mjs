// The pack's own routes on ComfyUI's server.
import { api } from "../../../scripts/api.js";

/** The answer of a route; `{refused, status}` in the server's own words where it refuses, null without the route. */
async function ask(path, asked) {
  const headers = { "Content-Type": "application/json" };
  const answer = await api.fetchApi(`/instance_composer/${path}`, {
    method: "POST",
    headers,
    body: JSON.stringify(asked),
  });
  if (answer.ok) return answer.json();
  if (answer.status === 404 || answer.status === 405) return null;
  const told = await answer.json().catch(() => null);
  const refused = typeof told?.error === "string" ? told.error : `HTTP ${answer.status}`;
  return { refused, status: answer.status };
}

/** The same, for questions that are asked again: throws where the server, or a proxy before it, only fails for now. */
async function askAgain(path, asked) {
  const told = await ask(path, asked);
  if (told?.refused && told.status >= 500) throw new Error(told.refused);
  return told;
}

/**
 * Layouts of other programs as the server reads and writes them (hosts/comfyui/server/layouts.py); null without that
 * route.
 */
export const readLayout = (text, told) => ask("layouts", { text, ...told });
export const writeLayout = (document, format) => ask("layouts", { document, format });

/**
 * The report of this installation (hosts/comfyui/server/report.py): {text, faults}, or {refused}; null without that
 * route.
 */
export const examine = (thorough) => ask("doctor", { thorough });

/**
 * Tokens of texts as ComfyUI's own tokenizer counts them (hosts/comfyui/server/token_count.py), none for what it
 * refuses; null without that route.
 */
export async function countTokens(texts) {
  const told = await askAgain("tokens", { texts });
  return told && (told.tokens ?? []);
}

/**
 * What the run makes of a layout's prompt (hosts/comfyui/server/naming.py): {prompt, unnamed}; null without that route.
 */
export async function readPrompt(document) {
  const told = await askAgain("prompt", { document });
  return Array.isArray(told?.unnamed) ? told : null;
}
