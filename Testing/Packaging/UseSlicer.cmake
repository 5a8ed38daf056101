# The macros that a scripted extension calls.

include(CTest)
set(STANDIN_HOST "${CMAKE_CURRENT_LIST_DIR}/segment_installed.py")
find_program(STANDIN_PYTHON NAMES python3 python DOC "Interpreter that has the test host's packages")

# Copies files into the build tree and installs them; each keeps its path relative to the calling CMakeLists.txt.
#
#   slicerMacroBuildScriptedModule(NAME <name> SCRIPTS <file>... [RESOURCES <file>...] [WITH_GENERIC_TESTS] [WITH_SUBDIR])
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS;WITH_SUBDIR" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MODULE_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: unknown arguments ${MODULE_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT MODULE_NAME OR NOT MODULE_SCRIPTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: NAME and SCRIPTS are needed")
  endif()
  set(module_folder ${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
  if(MODULE_WITH_SUBDIR)
    set(module_folder ${module_folder}/${MODULE_NAME})
  endif()
  set(module_copies)
  foreach(file IN LISTS MODULE_SCRIPTS MODULE_RESOURCES)
    if(IS_ABSOLUTE "${file}" OR "${file}" MATCHES "(^|/)\\.\\.(/|$)")
      message(FATAL_ERROR "slicerMacroBuildScriptedModule: ${file} does not lie below ${CMAKE_CURRENT_SOURCE_DIR}")
    endif()
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
      message(FATAL_ERROR "slicerMacroBuildScriptedModule: ${CMAKE_CURRENT_SOURCE_DIR}/${file} does not exist")
    endif()
    set(module_copy "${CMAKE_BINARY_DIR}/${module_folder}/${file}")
    add_custom_command(
      OUTPUT "${module_copy}"
      COMMAND ${CMAKE_COMMAND} -E copy "${CMAKE_CURRENT_SOURCE_DIR}/${file}" "${module_copy}"
      DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${file}"
      )
    list(APPEND module_copies "${module_copy}")
    get_filename_component(module_subfolder "${file}" DIRECTORY)
    install(FILES "${module_copy}" DESTINATION "${module_folder}/${module_subfolder}")
  endforeach()
  add_custom_target(${MODULE_NAME}Files ALL DEPENDS ${module_copies})
  if(MODULE_WITH_GENERIC_TESTS AND BUILD_TESTING)
    add_test(
      NAME qSlicer${MODULE_NAME}ModuleGenericTest
      COMMAND ${STANDIN_PYTHON} ${STANDIN_HOST} "${CMAKE_BINARY_DIR}/${module_folder}" --check load
      )
  endif()
endmacro()

# Registers a module's own runTest(), as py_<name>.
macro(slicer_add_python_unittest)
  cmake_parse_arguments(UNITTEST "" "SCRIPT" "" ${ARGN})
  get_filename_component(unittest_name "${UNITTEST_SCRIPT}" NAME_WE)
  add_test(
    NAME py_${unittest_name}
    COMMAND ${STANDIN_PYTHON} ${STANDIN_HOST} "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}" --check self-test
    )
endmacro()
