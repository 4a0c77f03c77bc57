/* VNC authentication: DES of a challenge, RFC 6143, 7.2.2. */
#include "config.h"
#include "ui/vnc-internal.h"
#include <string.h>

#ifdef HAVE_NETTLE
#include <nettle/des.h>

bool vnc_auth_response(const char *password, const uint8_t challenge[16], uint8_t response[16])
{
    uint8_t key[DES_KEY_SIZE] = {0};
    struct des_ctx ctx;

    for (unsigned i = 0; i < sizeof(key) && password[i]; i++) {
        /* The bits of each byte of the key are reversed: erratum 4951 of RFC 6143. */
        for (unsigned bit = 0; bit < 8; bit++) {
            key[i] |= ((uint8_t)password[i] >> bit & 1) << (7 - bit);
        }
    }
    /* It tells weak keys by its result; the protocol takes them all. */
    des_set_key(&ctx, key);
    des_encrypt(&ctx, 16, response, challenge);
    memset(&ctx, 0, sizeof(ctx));
    return true;
}

#else

bool vnc_auth_response(const char *password, const uint8_t challenge[16], uint8_t response[16])
{
    return false;
}

#endif
