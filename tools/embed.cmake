# cmake -DIN="a;b" -DOUT=c -P tools/embed.cmake
# Writes the joined bytes of the files IN as a list of numbers to include in an
# array.  CMake does it itself, so that the build needs no further tool.
set(numbers "")
foreach(path ${IN})
  file(READ ${path} hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," piece "${hex}")
  string(APPEND numbers "${piece}")
endforeach()
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" numbers "${numbers}")
file(WRITE ${OUT} "${numbers}\n")
