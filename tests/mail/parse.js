// Reads mails, one a line, in base64; writes what a mail program would show of each as one line of JSON.
import { createInterface } from "node:readline";
import PostalMime from "postal-mime";

for await (const line of createInterface({ input: process.stdin })) {
  const mail = await PostalMime.parse(Buffer.from(line, "base64"));
  const { subject, from, to, replyTo, messageId, text, html, headers, attachments } = mail;
  const names = headers.map((each) => each.key);
  console.log(JSON.stringify({ subject, from, to, replyTo, messageId, text, html, names, attachments: attachments.length }));
}
