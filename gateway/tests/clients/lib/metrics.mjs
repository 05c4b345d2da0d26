// What a gateway says about itself on its internal port.
import { request } from "./http.mjs";

/** The series of a gateway, by the name that Prometheus would show. */
export async function metrics(server) {
  const { text } = await request(server.internalPort, "/metrics");
  const lines = text.split("\n").filter((line) => line && !line.startsWith("#"));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]));
}

/** The sum of all series of a metric. */
export function total(series, name) {
  return [...series].filter(([key]) => key === name || key.startsWith(`${name}{`)).reduce((sum, [, value]) => sum + value, 0);
}
