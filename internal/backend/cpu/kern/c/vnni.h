// Products of signed weights where udot (see vec.h) is VNNI's.
#ifndef VNNI_H
#define VNNI_H

// The instruction wants unsigned weights: signed ones get 128 more.
#define SDOT_BIAS 128
INLINE u8x64 signed_(u8x64 w) { return w ^ 0x80; }
#define SIGNED_16 0x80 // the same of constants
INLINE i32x16 sdot(i32x16 s, u8x64 w, i8x64 x) { return udot(s, w, x); }

#endif
