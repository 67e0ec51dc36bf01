// Package server answers HTTP: the OpenAI API and what belongs to running it
// (/health, /ready, /version, /tokenize, ...). It knows no engine. Who answers a
// request is the [Backend]'s business, what the bytes mean package openai's;
// here are routes, limits, deadlines, streaming, and the life cycle.
//
// The life of a request, all on its own goroutine:
//
//  1. ServeHTTP gives it an id, refuses it while draining, and logs its end.
//  2. The handler reads the body within limits and decodes it.
//  3. Generate is ranged over. Each event becomes at most one write and one
//     flush (an eventWriter), or is gathered into one response.
//
// Whatever ends the connection or the server cancels the request's context, and
// the generator sees it within a step. The response's headers wait for the first
// event, so that what goes wrong before it still has its status; later the
// error is an event of the stream.
//
// Stopping has two stages. [Server.Drain] refuses what is new and lets the rest
// finish; [Server.Close] ends the rest, telling each stream why.
package server
