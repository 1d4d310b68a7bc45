/*
 * jwt_tokens: keys, and tokens signed by another implementation (node:crypto) with the
 * payload {"sub":"42","info":{"n":1}}; the private halves were thrown away.
 */
#pragma once

static const char rsa_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAz8KuTZ5R+Ik4u6Az3O1Y\n"
                              "6Jzx+IYQ05DSeAlX+JARCSk+nm1GVbf6Mr9QMtunjKAk8BNLSMVYdlSkwxMc0HS8\n"
                              "UVzgyNz73ngvcoQc/w4rmiXHzrbJW/v8c05h6WYf4hIbV7LNYZ7uCxpzBX7pufUr\n"
                              "MEoq/OHUxXKlOwaF4PAuFooH5Ry2K1AKrVR2Z4mKPLp2ShEbYywE6MjgHwp3Esme\n"
                              "nHMwWkHnwzw77ktqth5BN6MUUkikgK+zeazixR9FEEauKbyLc7iv3FOHd6BK1KrM\n"
                              "705oRyO5X8Ej/zywSF8snYcZmWcfUlY4a95ZS4HGZppa6C1xBO7JJxidwcH7RWCm\n"
                              "hwIDAQAB\n"
                              "-----END PUBLIC KEY-----\n";
static const char rsa_pkcs1_pem[] =
    "-----BEGIN RSA PUBLIC KEY-----\n"
    "MIIBCgKCAQEAz8KuTZ5R+Ik4u6Az3O1Y6Jzx+IYQ05DSeAlX+JARCSk+nm1GVbf6\n"
    "Mr9QMtunjKAk8BNLSMVYdlSkwxMc0HS8UVzgyNz73ngvcoQc/w4rmiXHzrbJW/v8\n"
    "c05h6WYf4hIbV7LNYZ7uCxpzBX7pufUrMEoq/OHUxXKlOwaF4PAuFooH5Ry2K1AK\n"
    "rVR2Z4mKPLp2ShEbYywE6MjgHwp3EsmenHMwWkHnwzw77ktqth5BN6MUUkikgK+z\n"
    "eazixR9FEEauKbyLc7iv3FOHd6BK1KrM705oRyO5X8Ej/zywSF8snYcZmWcfUlY4\n"
    "a95ZS4HGZppa6C1xBO7JJxidwcH7RWCmhwIDAQAB\n"
    "-----END RSA PUBLIC KEY-----\n";
static const char rsa_small_pem[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDIfNtZhyywZlsZFE/KOmy0TeXz\n"
    "l11u0wz9wI21EFvpjLMplasyYzVnnywq2st++u/fKlqWtiUCXFmM7zq8pGMV++tb\n"
    "5mCnys1brVl/WlqIUBuPEfIQkswTP4y3/Oj1rNmoDICFnP594Wsf+o/xWfUgWGJU\n"
    "H06TqGzLfqdWEmBRhwIDAQAB\n"
    "-----END PUBLIC KEY-----\n";
static const char ec256_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                                "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEfhlKd47nkCtOlmf5OYeB5Z/JphRT\n"
                                "wv/UDd3EfWRf2wHxkagN8ciMUOo1buOWZ+4nUE0JzkkCIHBR9OsgHfVxGg==\n"
                                "-----END PUBLIC KEY-----\n";
static const char ec384_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                                "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE6qzqmH4RX/Ts/F9QLnFDVACNqSry1xhs\n"
                                "WwBkZU31YijIfwmAAWKLDYDrKQvpzUZGsqZTW/rQDB7EdE6FFgLvRTXPqZHa4rH3\n"
                                "FCWiiGlgyNRALPvvTLp0ETfYj3BDVocr\n"
                                "-----END PUBLIC KEY-----\n";
static const char ec521_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                                "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAOVOonXLyDr2j9J1swCF/c7kdVYl9\n"
                                "xadlNtCUpXappTqXDDqpuWZL0xQ2UQmGP1egbZIV6HfxSwZ6Zyxk8fGwleUABCI0\n"
                                "Agz86elGAY0XERWtJHkYTrjr7VHhiuEFVC5GK9XvKufolQMj8S0eHj7N7pvIu1Uu\n"
                                "vq1owXGuyLSjUf24tPU=\n"
                                "-----END PUBLIC KEY-----\n";
static const char ec_other_curve_pem[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAERL9WfzaHnvbRvXkt/b53GTHRhMsrNtte\n"
    "FJzN2KyYtazgw+ynilsins9NkQU5ioB8ZfuqlczFAZj/+WEPGTMw2g==\n"
    "-----END PUBLIC KEY-----\n";
static const char ed_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                             "MCowBQYDK2VwAyEAEAke7ZffzpHwXeFF1cytIH3+zhqjYHi66a5GHwzUW0I=\n"
                             "-----END PUBLIC KEY-----\n";
static const char token_hs256[] =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX19.FaQddYthXTTeoMcK"
    "yE7lwxoaaIzv_a2I985EGrUNqww";
static const char token_hs384[] =
    "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX19.KZPC5x40wNhcCj89"
    "6mPPGis19_sUVvBO_lYSgvOzqo5sSZBkQd3dobCtSC0UMD0i";
static const char token_hs512[] =
    "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX19.POLPBa-51Nzcryo3"
    "mmt0MSco9ADePPxVkT412pkMj9W7XIo3f_I9QxIqDOWMOZwcySoeyhw0jPdUFtDiYGQTeg";
static const char token_rs256[] =
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InJzYSJ9.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX19."
    "ntIAPIyfhSIL_WbCST6xB1DhJsLAwRa7JdcpUBrqgrZ0VO8souLuJ6QBaDAnhFU6Lc0fRXfaNNycjgJzyY521fa_Vr"
    "R3V7wDiYawJc9YqW5lCiHAZXfmKB9obqMSlsSEfyd7l8UX59IwDQpPUCv6p6A3XBCShCKqxr0ggs1KaqbQpZu0Bp8J"
    "ySl9gceoqUuSNvayp0GLqdujASnzvuuilBCF8vku8g9jN-7GMFGUdblvoP3EVUuJwBZWLhy-46pTCKz6XjyujBrwOo"
    "_gDy-bMZZ1x0EH-BE358_P3W62CtIY5sq6QjU5lDAWx2uNavBfoyhKvCs-cQGX83UQRk-eyg";
static const char token_rs384[] =
    "eyJhbGciOiJSUzM4NCIsInR5cCI6IkpXVCIsImtpZCI6InJzYSJ9.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX19."
    "hEvZGWYfdR5aIuAT8lPokGSFOSTTPVxks1c5dcDfTY8PgX0_46koUNpDTTO9K0T60JbCgwxTbRlMHthLG1Sycjpbw9"
    "FhtFIr7f9sRDkE40lv6gVxKSo9uB5unzxXsjiJ7PA4yr65rcCHjIv_SjhPeiiX1-QDEoH41l_UgyA6oUtFkFYYqPuk"
    "XlJmXXsfgNyrisz6pj1fBOhBCBjkhuxofmUb23udsWOPrU0BT7PoayOjDpdt6syI8UB2UQ_QxuLRmSoHyzL6QkMZlH"
    "L3vi23L0IFUc5Q20sU5d0WWck2ZqK1YEfPCHOjk4AdUPQhuiBpHkb0q4zlnLLWEXeg7Y6ELg";
static const char token_rs512[] =
    "eyJhbGciOiJSUzUxMiIsInR5cCI6IkpXVCIsImtpZCI6InJzYSJ9.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX19."
    "LvbTHvUth4FCQv6GF9dZj_AJoqbDsd1ZAOtdJnTDExVNZU5EW8J2Kejmn_6K7QU36f7vS5QOHDpN0SdB3a5JNof8-K"
    "1wCPZAphgJZqUzLGegj4WmxeHPRCqL0SC1Bo50bQeHfUd97FO_frD_LWsk1J-_XvuSKM_UhKnCFoA7sZ10z4xwMeck"
    "knewKtgR_pRmZWPTV2LKyfck8Hc97BQ2pb_YEUFulKijnp9jX2MVnHTurLgV4sa8DC4nMou4wW56HI1HeZyyxI8kNA"
    "0NZBijFa-k_yoB70Tjdm0kPIj2HFqYrG1tsfsGY3qOrg5gHSUv4nc-8mGe2-wu2nnlMRN9NQ";
static const char token_es256[] =
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImVjMjU2In0.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX"
    "19.4fv75dP68AWGBN58Cah9kmozZAR--eeXorihSUf_54TX4ubbj_KEr4k0Z9zZtoF2DsOVAh6b9QIOzK8DQBoAzQ";
static const char token_es384[] =
    "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCIsImtpZCI6ImVjMzg0In0.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX"
    "19.OAtWc71TrtTIjuKgK3fTX0ijWcDxSWW7j9wwdSDHQj1l9GD53RMLiJ6iEEutpPiufcMSVPRkzavH0pqZuA8_snS"
    "DtvmJH2aF5SIp1g5UOJDly7GTfnSc8xgn4SUeBLu5";
static const char token_es512[] =
    "eyJhbGciOiJFUzUxMiIsInR5cCI6IkpXVCIsImtpZCI6ImVjNTIxIn0.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX"
    "19.AaCvnujm0KqbVG6hO9UGXB2xjvIWrL7Ggsj7lp3wiczDWtN5N00bV26C9T0y4alb0b3LDWWf12xxipwo_oBlxj2"
    "DAQN_9o0ieaRZjeHkdCEvmhPGjJJ05dMk5GbqZwN45wfcwE408RaTjWoScaBPsxMGWdopj6AMnClzP_bokZamCnd9";
static const char token_eddsa[] =
    "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImVkIn0.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX19.w"
    "keCjt8DAI552gHkr9fRvFaQqPM5yguRdUWMWp-JvkdCguSyfE1z34TXOIobviH1TxjSkwt_Ai--WNFeU8ajAA";
static const char token_confused[] =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InJzYSJ9.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX19."
    "oGt0M168RbOia2uzGy_-24Fi7C3eNOVXzIrAva-MF64";
static const char token_wrong_rsa[] =
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InJzYSJ9.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX19."
    "Af0geQTsgx4BeRaac3Yxi4sSdUuaSFQ4ol_sntFv5PqfyaMfHH9jc86_1U_2mc0DU4Wi0ESCbZdQ97K1LCmI5Ou9V5"
    "6LqkAIzNqx_6wmax0KA6QQvGZNk1Pe6vpYk__dByDT6fckfMyhRpNp6pODSpF7WDJZuo-Ko0KgsexkmxU_zTy04DQV"
    "yunkN8Xpov2dv2d9daE07Uw8sdVXaH_GuOVte51jGH1OpuyCn18-5WWgMF6s7H5lNIwzB7Gy3q46ifXzcfLZiiFYzP"
    "RIlCtYuSq3AiMsig43QPiABE2BuNgefIJYnbC_VvW4yXPYWR75PjXp8jOfvm0kFTPEDbX1fw";
static const char token_no_kid[] =
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX19.hTj9WmPH79t5wYkf"
    "J5veebsXhhrWxn5kNhJut333Rea4AU7nUtsbh-Q4ll6jWeeKkk-W9lHU9tjghQVVPWhEUz8swLKXJK2Y8H24pLDIxk"
    "Jr4wNvryC5iQWMSRPppjOo36QmlD3NV0b8_Ova6a_m85A_6Nj95RgIMjUL6uPnBWM4Kngv8yJxiy8uNJ5lPTiKQq1h"
    "GrWhJcawMNLwtlzdD9rKMVqlC8Vb6glojDqyuiZ1GZ8B4wyVoqkvTzQlL6TZl1JyMVImN0ajGs0ofVLBmiFdyTaliM"
    "4g6H-1jDtBAYuKprR9FGt9YDqdE6ILOMn5Z44A-ZcK5yBLU3tig-1n0Q";
static const char token_other_kid[] =
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6Im5ldyJ9.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX19."
    "sn9BlNC8NdVZ0D9bKw1re6el5-dug5qgns4hqlAdnu9LQlmdouEUTxAWxoFttT1p71g1zZ1mH1Qy8mAimgS99zph3s"
    "-dg76_1ZYVWJanPEAomuA6C6S5CV1oAOngXkv29gV1YFgWJHDFNBgrfCp7OWGuJBahdBDRjld70-uIzUdlDyPtZNRF"
    "9uS7uLv4heV4cn8MPaTtZGphQwCbmaFHE7w2ndYvsvJ280Y6xSPas3x0WajkXBDPnoygLyw_ExPQ2QR5VIkYDZtaxg"
    "Ct96vGyGuiBrfiXClz0HbeenQxe8yDllaZ1wYvuurm2xwfPyRm9iM9dMmDnipgfTSyONS03w";
static const char token_es256_by_p384[] =
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImVjMzg0In0.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX"
    "19.TZLyWoXYsKOJvWCToulMP7ZfZU45XDzBJR7o4v8-K1KhIJ_xk0qLImWMgPhwHUsKUeXp2ORjeTDQWG-Q7V5bpQc"
    "hxhI1-7k4UgEUFHo17Wtg0tQr8MMK9rAFHTMwsZHg";
static const char token_es384_by_p256[] =
    "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCIsImtpZCI6ImVjMjU2In0.eyJzdWIiOiI0MiIsImluZm8iOnsibiI6MX"
    "19.vYh9JSqApoXD1EwjAjuU7M2OOABGp4ZN7qXMF0u8vEzsKqAZDuYcGWEJ-ciKZcHnpp-9jV0rWfDSs0cI8E8Aog";
static const char jwks[] =
    "{\"keys\":[{\"kid\":\"rsa\",\"kty\":\"RSA\",\"n\":\"z8KuTZ5R-Ik4u6Az3O1Y6Jzx-IYQ05DSeAlX-"
    "JARCSk-nm1GVbf"
    "6Mr9QMtunjKAk8BNLSMVYdlSkwxMc0HS8UVzgyNz73ngvcoQc_w4rmiXHzrbJW_v8c05h6WYf4hIbV7LNYZ7uCxpzB"
    "X7pufUrMEoq_OHUxXKlOwaF4PAuFooH5Ry2K1AKrVR2Z4mKPLp2ShEbYywE6MjgHwp3EsmenHMwWkHnwzw77ktqth5"
    "BN6MUUkikgK-zeazixR9FEEauKbyLc7iv3FOHd6BK1KrM705oRyO5X8Ej_zywSF8snYcZmWcfUlY4a95ZS4HGZppa6"
    "C1xBO7JJxidwcH7RWCmhw\",\"e\":\"AQAB\",\"use\":\"sig\"},{\"kid\":\"ec256\",\"kty\":\"EC\","
    "\"x\":\"fhlKd47nkCtO"
    "lmf5OYeB5Z_JphRTwv_UDd3EfWRf2wE\",\"y\":\"8ZGoDfHIjFDqNW7jlmfuJ1BNCc5JAiBwUfTrIB31cRo\","
    "\"crv\":\""
    "P-256\",\"alg\":\"ES256\"},{\"kid\":\"ec384\",\"kty\":\"EC\",\"x\":\"6qzqmH4RX_Ts_"
    "F9QLnFDVACNqSry1xhsWwBkZ"
    "U31YijIfwmAAWKLDYDrKQvpzUZG\",\"y\":\"sqZTW_rQDB7EdE6FFgLvRTXPqZHa4rH3FCWiiGlgyNRALPvvTLp0ETfY"
    "j3BDVocr\",\"crv\":\"P-384\",\"key_ops\":[\"verify\"]},{\"kid\":\"ec521\",\"kty\":\"EC\","
    "\"x\":\"ADlTqJ1y8g69o"
    "_SdbMAhf3O5HVWJfcWnZTbQlKV2qaU6lww6qblmS9MUNlEJhj9XoG2SFeh38UsGemcsZPHxsJXl\",\"y\":\"AAQiNAIM"
    "_OnpRgGNFxEVrSR5GE646-1R4YrhBVQuRivV7yrn6JUDI_EtHh4-ze6byLtVLr6taMFxrsi0o1H9uLT1\",\"crv\":\"P"
    "-521\"},{\"kid\":\"ed\",\"crv\":\"Ed25519\",\"x\":\"EAke7ZffzpHwXeFF1cytIH3-"
    "zhqjYHi66a5GHwzUW0I\",\"kty\""
    ":\"OKP\"}]}";
static const char jwk_rsa_n[] =
    "z8KuTZ5R-Ik4u6Az3O1Y6Jzx-IYQ05DSeAlX-JARCSk-nm1GVbf6Mr9QMtunjKAk8BNLSMVYdlSkwxMc0HS8UVzgyN"
    "z73ngvcoQc_w4rmiXHzrbJW_v8c05h6WYf4hIbV7LNYZ7uCxpzBX7pufUrMEoq_OHUxXKlOwaF4PAuFooH5Ry2K1AK"
    "rVR2Z4mKPLp2ShEbYywE6MjgHwp3EsmenHMwWkHnwzw77ktqth5BN6MUUkikgK-zeazixR9FEEauKbyLc7iv3FOHd6"
    "BK1KrM705oRyO5X8Ej_zywSF8snYcZmWcfUlY4a95ZS4HGZppa6C1xBO7JJxidwcH7RWCmhw";
static const char jwk_small_n[] =
    "yHzbWYcssGZbGRRPyjpstE3l85ddbtMM_cCNtRBb6YyzKZWrMmM1Z58sKtrLfvrv3ypalrYlAlxZjO86vKRjFfvrW-"
    "Zgp8rNW61Zf1paiFAbjxHyEJLMEz-Mt_zo9azZqAyAhZz-feFrH_qP8Vn1IFhiVB9Ok6hsy36nVhJgUYc";
static const char jwk_ec256_x[] = "fhlKd47nkCtOlmf5OYeB5Z_JphRTwv_UDd3EfWRf2wE";
static const char jwk_ec256_y[] = "8ZGoDfHIjFDqNW7jlmfuJ1BNCc5JAiBwUfTrIB31cRo";
static const char jwk_ed_x[] = "EAke7ZffzpHwXeFF1cytIH3-zhqjYHi66a5GHwzUW0I";
