/* Included by files whose products and sums must round one by one, as NumPy's do: on machines with a fused
   multiply-add the compiler would otherwise merge them. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
