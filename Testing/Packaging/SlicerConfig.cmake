# Stands in for the package of a built Slicer: where the extension's CMakeLists.txt finds what it includes and calls.

set(Slicer_VERSION_MAJOR 5)
set(Slicer_VERSION_MINOR 12)
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/ExtensionCPack.cmake")

set(Slicer_VERSION_FOLDER "Slicer-${Slicer_VERSION_MAJOR}.${Slicer_VERSION_MINOR}")
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/${Slicer_VERSION_FOLDER}/qt-scripted-modules")
set(Slicer_SHARE_DIR "share/${Slicer_VERSION_FOLDER}")
