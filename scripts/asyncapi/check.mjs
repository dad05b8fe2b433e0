// Reads AsyncAPI documents with the project's own parser; exit status 1 if one is refused or has a warning.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

// The parser lies in the folder this is run from, not beside this file.
const { Parser } = createRequire(resolve("package.json"))("@asyncapi/parser");
const NOTE = 2; // of severities: 0 is an error, 1 a warning; there is always a note that newer versions exist

let wrong = false;
for (const file of process.argv.slice(2)) {
  const source = resolve(file);
  const { document, diagnostics } = await new Parser().parse(readFileSync(source, "utf-8"), { source });
  const findings = diagnostics.filter((one) => one.severity < NOTE);
  for (const found of findings) {
    console.error(`${file}:${found.range.start.line + 1}: ${found.path.join(".")}: ${found.message}`);
  }
  if (findings.length || !document) {
    console.log(`refused ${file}`);
    wrong = true;
    continue;
  }
  for (const operation of document.allOperations()) {
    const channels = operation.channels().all();
    const messages = operation.messages().all();
    console.log(`${operation.action()} ${channels.map((one) => one.address())} ${messages.map((one) => one.id())}`);
  }
}
process.exit(wrong ? 1 : 0);
