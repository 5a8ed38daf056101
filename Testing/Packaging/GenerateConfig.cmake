# Writes the extension's description, one "key value" a line, and installs it where Slicer looks for it.

set(standin_description "")
foreach(standin_key HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if(NOT EXTENSION_${standin_key})
    message(FATAL_ERROR "EXTENSION_${standin_key} is not set")
  endif()
  string(TOLOWER ${standin_key} standin_name)
  string(APPEND standin_description "${standin_name} ${EXTENSION_${standin_key}}\n")
endforeach()
file(WRITE "${CMAKE_BINARY_DIR}/${PROJECT_NAME}.s4ext" "${standin_description}")
install(FILES "${CMAKE_BINARY_DIR}/${PROJECT_NAME}.s4ext" DESTINATION ${Slicer_SHARE_DIR})
